"""``croissant.json``: what a dataset is, for programs. Croissant 1.1 with the properties of GeoCroissant 1.0.

https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and
https://docs.mlcommons.org/croissant/docs/croissant-geo-spec.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from m3leo_prep.publish.description.card.about import About
from m3leo_prep.publish.description.card.head import pretty_name, tags
from m3leo_prep.publish.description.card.using import bibtex
from m3leo_prep.publish.description.geocroissant import bands, quantity, wavelengths
from m3leo_prep.publish.description.licences import last_day
from m3leo_prep.publish.description.previews import IMAGE

CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "geocr": "http://mlcommons.org/croissant/geo/",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of Croissant 1.1 and the prefix of GeoCroissant."""
CONFORMS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/geo/1.0"]
REPOSITORY = "repository"
NO_SHA256 = "https://github.com/mlcommons/croissant/issues/80"
"""What stands for the digest of a repository, which has none, as the Hub writes it."""
PARQUET = "application/x-parquet"
"""As mlcroissant and the Hub write it."""


def croissant(about: About, chips: pa.Schema, previews: pa.Schema) -> bytes:
    """Return ``croissant.json``.

    The recommended ``datePublished`` is not told: what is written follows from the dataset alone, which knows no date.

    Args:
        about: the dataset.
        chips: columns of ``chips.parquet``.
        previews: columns of ``previews/*.parquet``.
    """
    manifest, whole = about.manifest, about.figures.overview
    west, south, east, north = json.loads(chips.metadata[b"geo"])["columns"]["geometry"]["bbox"]
    page = about.hub_page or about.target
    owner = about.hub_name.partition("/")[0]
    made: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": re.sub(r"[^A-Za-z0-9_.-]+", "-", pretty_name(manifest)).strip("-"),
        "description": _description(about),
        "license": about.licence.url if about.licence.url.startswith("http") else about.licence.name,
        "citeAs": bibtex(about),
        "version": f"1.0.0+{about.digest[:16]}",
        "keywords": list(tags(manifest)),
        "isLiveDataset": False,
        "usageInfo": list(about.licence.notices),
        "url": page,
        "creator": {"@type": "sc:Organization", "name": owner} if owner else None,
        "spatialCoverage": {
            "@type": "sc:Place",
            "geo": {"@type": "sc:GeoShape", "box": f"{south:.6f} {west:.6f} {north:.6f} {east:.6f}"},
        },
        "temporalCoverage": f"{whole.first[:10]}/{last_day(whole.last)}" if whole.first and whole.last else None,
        "geocr:coordinateReferenceSystem": " ".join(whole.zones),
        "geocr:spatialResolution": quantity(whole.resolution_m, "m"),
        "geocr:samplingStrategy": _sampling(about),
        "geocr:bandConfiguration": bands([band for one in _variables(manifest) for band in one[2]]),
        "geocr:spectralBandMetadata": [band for one in _variables(manifest) for band in wavelengths(*one)],
        "distribution": list(_distribution(about, page)),
        "recordSet": [
            _records(
                "chips", "One row per chip: place, split, valid shares, label proportions.", chips, "chips.parquet"
            ),
            _records("previews", "Small pictures of chips.", previews, "preview-files"),
            _pixels(manifest),
        ],
    }
    kept = {key: value for key, value in made.items() if value not in (None, "", [])}
    return (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode()


def _description(about: About) -> str:
    whole = about.figures.overview
    layers = ", ".join(f"{one.name} ({one.role})" for one in about.figures.layers)
    told = f"{whole.n_chips:,} chips of {whole.chip_km:g} km in the area {whole.area}, with the layers {layers}."
    return f"{whole.description} {told}".strip()


def _sampling(about: About) -> str:
    grid = about.manifest["grid"]
    drawn = "a sample of the cells" if about.figures.overview.sample else "every cell"
    told = f"{drawn} of a fixed UTM grid ({grid['chip_px']} px of {grid['resolution']:g} m) that meet the area"
    if policies := [f"{one.column}: {one.policy.get('policy', 'unknown')}" for one in about.figures.splits]:
        told += f"; splits by {', '.join(policies)}"
    return told


def _variables(manifest: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], list[str]]]:
    """Yield layers, their variables, and the names of bands, told apart by their layer."""
    for name, layer in manifest["layers"].items():
        for array in layer["arrays"]:
            prefix = f"{name}.{array['name']}" if len(layer["arrays"]) > 1 else name
            yield layer, array, [f"{prefix}.{band}" for band in array["bands"]]


def _distribution(about: About, page: str) -> Iterator[dict[str, Any]]:
    """Yield the files: tables with their digests, and the sets of files, whose digests shards.parquet has."""
    inside = {}
    if about.hub_name:
        inside = {"containedIn": {"@id": REPOSITORY}}
        yield {
            "@type": "cr:FileObject",
            "@id": REPOSITORY,
            "name": REPOSITORY,
            "description": "The repository on the Hub.",
            "contentUrl": f"{page}/tree/{about.hub_revision or 'main'}",
            "encodingFormat": "git+https",
            "sha256": NO_SHA256,
        }
    files = about.manifest["files"]
    for name, told in (
        ("chips.parquet", "One row per chip; GeoParquet."),
        ("shards.parquet", "Path, bytes and SHA-256 of every shard."),
        ("units.parquet", "Administrative units; GeoParquet."),
        ("chip_units.parquet", "Which chip lies in which administrative unit."),
        ("recipe.yaml", "What was asked for, with every choice written out."),
    ):
        if name in files:
            yield {
                "@type": "cr:FileObject",
                "@id": name,
                "name": name,
                "description": told,
                "contentUrl": name,
                **inside,
                "encodingFormat": PARQUET if name.endswith(".parquet") else "application/yaml",
                "sha256": files[name],
            }
    for name, told, includes, form in (
        ("preview-files", "Small pictures of chips.", "previews/*.parquet", PARQUET),
        ("provenance-files", "Scenes and reasons of every chip, slot and band.", "provenance/**/*.parquet", PARQUET),
        ("store", "The pixels: a Zarr v3 group, one subgroup a layer.", "chips.zarr/**", "application/vnd+zarr"),
    ):
        yield {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "description": told,
            **inside,
            "encodingFormat": form,
            "includes": includes,
        }


def _records(name: str, told: str, schema: pa.Schema, file: str) -> dict[str, Any]:
    """Return a table's rows as records."""
    source = {"fileObject": {"@id": file}} if file.endswith(".parquet") else {"fileSet": {"@id": file}}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": told,
        "key": {"@id": f"{name}/chip_id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field.name}",
                "name": field.name,
                "description": _column(field),
                "dataType": _type(field.type),
                "source": source
                | {"extract": {"column": field.name}}
                | ({"transform": {"jsonPath": "bytes"}} if field.type == IMAGE else {}),
            }
            for field in schema
            if _type(field.type)
        ],
    }


def _column(field: pa.Field) -> str:
    if field.type == IMAGE:
        return f"Picture of the layer {field.name}."
    known = {
        "chip_id": "Name of the chip.",
        "row": "Place of the chip along the first axis of every array.",
        "epsg": "Projection of the chip.",
        "x0": "Easting of its upper-left corner, m.",
        "y0": "Northing of its upper-left corner, m.",
        "lon": "Longitude of its centre, degrees.",
        "lat": "Latitude of its centre, degrees.",
        "area_km2": "Area on the ellipsoid, km2.",
        "owned_fraction": "Share of the chip inside its UTM zone.",
        "zone_shared": "True where a chip of another zone overlaps.",
        "split": "train, val, test, buffer, or null.",
        "geometry": "Outline in lon/lat, WKB.",
    }
    return known.get(field.name, f"Column {field.name}.")


def _type(kind: pa.DataType) -> str:
    """Return Croissant's data type of a column; empty for what it has none for."""
    if kind == IMAGE:
        return "sc:ImageObject"
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Text" if pa.types.is_string(kind) else ""


def _pixels(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of pixels: where they lie, their shapes, bands, units and encodings."""
    return {
        "@type": "cr:RecordSet",
        "@id": "pixels",
        "name": "pixels",
        "description": "The arrays of chips.zarr: (chip, time, band, y, x), static ones (chip, band, y, x).",
        "field": [
            _array(name, layer, array, manifest["n_chips"])
            for name, layer in manifest["layers"].items()
            for array in layer["arrays"]
        ],
    }


def _array(name: str, layer: Mapping[str, Any], array: Mapping[str, Any], n_chips: int) -> dict[str, Any]:
    is_period = layer.get("slot_kind", "period") == "period"
    is_static = is_period and all(slot["start"] is None for slot in layer["slots"]) and len(layer["slots"]) == 1
    shape = [n_chips, *([] if is_static else [len(layer["slots"])]), len(array["bands"]), layer["size"], layer["size"]]
    is_class = array["unit"] == "class"
    told = {
        "unit": array["unit"], "storedType": array["dtype"], "scale": array["scale"], "transform": array["transform"],
        "noData": array["fill"], "maxError": array["max_error"], "kind": array["kind"], "resampling": array["method"],
        "statistic": array["statistic"], "role": layer["role"], **array["attributes"],
    }  # fmt: skip
    made = {
        "@type": "cr:Field",
        "@id": f"pixels/{name}.{array['name']}",
        "name": f"{name}.{array['name']}",
        "description": f"Array {array['name']} of the layer {name}, in chips.zarr/{name}/{array['name']}.",
        "dataType": "sc:Integer" if is_class else "sc:Float",
        "isArray": True,
        "arrayShape": ",".join(str(n) for n in shape),
        "source": {
            "fileSet": {"@id": "store"},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": f"^(.*chips\\.zarr/{re.escape(name)}/{re.escape(array['name'])})/zarr\\.json$"},
        },
        "geocr:spatialResolution": quantity(layer["pitch"], "m"),
        "geocr:bandConfiguration": bands(array["bands"]),
        "geocr:spectralBandMetadata": list(wavelengths(layer, array, array["bands"])),
        "additionalProperty": [
            {
                "@type": "sc:PropertyValue",
                "name": key,
                "value": value if isinstance(value, (int, float)) else str(value),
            }
            for key, value in told.items()
            if value not in (None, "")
        ],
    }
    return {key: value for key, value in made.items() if value != []}
