"""What the archive holds: granules, and the records by which the catalogue tells of them (UMM-G)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Dataset = Literal["gunw", "opera-rtc", "opera-rtc-static", "slc", "grd", "burst"]
Attribute = str | float | Sequence[str]

_COLLECTIONS: Mapping[str, tuple[str, str]] = {
    "ARIA_S1_GUNW": ("C2859376221-ASF", "1"),
    "SENTINEL-1_INTERFEROGRAMS": ("C1595422627-ASF", "1"),
    "OPERA_L2_RTC-S1_V1": ("C2777436413-ASF", "1"),
    "OPERA_L2_RTC-S1-STATIC_V1": ("C2795135174-ASF", "1"),
    "SENTINEL-1A_SLC": ("C1214470488-ASF", "1"),
    "SENTINEL-1A_DP_GRD_HIGH": ("C1214470533-ASF", "1"),
    "SENTINEL-1_BURSTS": ("C2709161906-ASF", "1"),
}
"""Concept id and version by short name: asf_search 14.1, ``CMR/datasets.py``."""
_OF_DATASET: Mapping[Dataset, tuple[str, str, str]] = {
    "gunw": ("ARIA_S1_GUNW", ".nc", "GUNW_STD"),
    "opera-rtc": ("OPERA_L2_RTC-S1_V1", "_VV.tif", "RTC"),
    "opera-rtc-static": ("OPERA_L2_RTC-S1-STATIC_V1", "_mask.tif", "RTC-STATIC"),
    "slc": ("SENTINEL-1A_SLC", ".zip", "SLC"),
    "grd": ("SENTINEL-1A_DP_GRD_HIGH", ".zip", "GRD_HD"),
    "burst": ("SENTINEL-1_BURSTS", ".tiff", "BURST"),
}
"""Short name of the collection, end of the file's name where no file is given, and PROCESSING_TYPE."""
_MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
"""The client fails at a record of a GUNW without a checksum."""
_FORMATS = {".nc": "netCDF-4", ".tif": "GeoTIFF", ".tiff": "GeoTIFF", ".h5": "HDF5", ".xml": "XML", ".zip": "ZIP"}


@dataclass(frozen=True)
class Granule:
    """One granule.

    Attributes:
        name: the scene's, without the end of a file's name.
        dataset: what it is.
        footprint: polygon or polygons, degrees, longitude first.
        start: when its acquisition began; UTC if it names no zone.
        stop: when it ended.
        attributes: UMM additional attributes, such as ``PATH_NUMBER``, besides those that each of its dataset has.
        files: by their names, what can be downloaded; none: one is told of that cannot.
        collection: short name, where it is another than the dataset's usual one, such as that of older GUNW.
        inputs: names of the granules that it was made from.
    """

    name: str
    dataset: Dataset
    footprint: BaseGeometry
    start: datetime
    stop: datetime
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    collection: str = ""
    inputs: Sequence[str] = ()

    @property
    def short_name(self) -> str:
        """Short name of its collection."""
        return self.collection or _OF_DATASET[self.dataset][0]

    @property
    def concept(self) -> str:
        """Concept id of its collection."""
        return _COLLECTIONS.get(self.short_name, ("C0000000000-ASF", "1"))[0]

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the files it tells of."""
        return tuple(self.files) or (f"{self.name}{_OF_DATASET[self.dataset][1]}",)

    @property
    def native_id(self) -> str:
        """Its name in the catalogue: scenes of Sentinel-1 have their level in it."""
        level = {"slc": "-SLC", "grd": "-GRD_HD"}.get(self.dataset, "")
        return f"{self.name}{level}"

    @cached_property
    def values(self) -> Mapping[str, tuple[str, ...]]:
        """Its additional attributes."""
        given = {"BEAM_MODE": "IW", "LOOK_DIRECTION": "RIGHT", "POLARIZATION": "VV"}
        if self.dataset != "gunw" or self.collection:  # records of ARIA_S1_GUNW have no level
            given["PROCESSING_TYPE"] = _OF_DATASET[self.dataset][2]
        if self.dataset in {"slc", "grd"}:
            given["ASF_PLATFORM"] = "Sentinel-1A"
        merged = given | dict(self.attributes)
        return {key: _texts(value) for key, value in merged.items()}

    @property
    def orbits(self) -> tuple[str, ...]:
        """Absolute orbits: of a pair, two."""
        return self.values.get("ORBIT", ("1",))

    @cached_property
    def sums(self) -> Mapping[str, str]:
        """MD5 of each file, hexadecimal."""
        return {
            name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for name, path in self.files.items()
        }

    def record(self, number: int, base: str) -> dict[str, Any]:
        """Return the record of the catalogue, as recorded ones are.

        Args:
            number: which of all granules it is: makes its concept id.
            base: address of the data host.
        """
        short_name = self.short_name
        version = _COLLECTIONS.get(short_name, ("", "1"))[1]
        umm: dict[str, Any] = {
            "GranuleUR": self.native_id,
            "TemporalExtent": self._times(),
            "OrbitCalculatedSpatialDomains": [{"OrbitNumber": int(orbit)} for orbit in self.orbits],
            "AdditionalAttributes": [{"Name": key, "Values": list(values)} for key, values in self.values.items()],
            "SpatialExtent": {"HorizontalSpatialDomain": {"Geometry": {"GPolygons": _rings(self.footprint)}}},
            "CollectionReference": {"ShortName": short_name, "Version": version},
            "RelatedUrls": [self._url(name, base) for name in self.file_names],
            "InputGranules": list(self.inputs),
            "DataGranule": {
                "DayNightFlag": "Unspecified",
                "Identifiers": [{"Identifier": self.name, "IdentifierType": "ProducerGranuleId"}],
                "ProductionDateTime": _time(self.stop),
                "ArchiveAndDistributionInformation": [self._file(name) for name in self.file_names],
            },
            "Platforms": [{"ShortName": _platform(self), "Instruments": [{"ShortName": "C-SAR"}]}],
            "MetadataSpecification": {
                "URL": "https://cdn.earthdata.nasa.gov/umm/granule/v1.6.6",
                "Name": "UMM-G",
                "Version": "1.6.6",
            },
        }
        if self.dataset in {"gunw", "burst"}:  # they tell no producer's id: the client takes GranuleUR
            del umm["DataGranule"]["Identifiers"]
        meta = {
            "concept-type": "granule",
            "concept-id": f"G{3000000000 + number}-ASF",
            "revision-id": 1,
            "native-id": self.native_id,
            "collection-concept-id": self.concept,
            "provider-id": "ASF",
            "format": "application/vnd.nasa.cmr.umm+json",
            "revision-date": _time(self.stop),
        }
        return {"meta": meta, "umm": umm}

    def _times(self) -> dict[str, Any]:
        if self.dataset == "opera-rtc-static":  # as recorded: a day years before any acquisition
            return {"SingleDateTime": _time(self.start)}
        return {"RangeDateTime": {"BeginningDateTime": _time(self.start), "EndingDateTime": _time(self.stop)}}

    def _url(self, name: str, base: str) -> dict[str, str]:
        extended = name.endswith((".md5", ".iso.xml"))
        kind = "USE SERVICE API" if self.dataset == "burst" else "EXTENDED METADATA" if extended else "GET DATA"
        return {"URL": f"{base}/{self.dataset}/{name}", "Type": kind, "Format": _format(name)}

    def _file(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = {"Name": name, "Format": _format(name)}
        path = self.files.get(name)
        size, value = (0, _MD5_OF_NOTHING) if path is None else (path.stat().st_size, self.sums[name])
        return told | {"SizeInBytes": size, "Checksum": {"Value": value, "Algorithm": "MD5"}}


def utc(time: datetime) -> datetime:
    """Return a time in UTC, which it is in if it names no zone."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _time(time: datetime) -> str:
    return f"{utc(time):%Y-%m-%dT%H:%M:%S.%f}Z"


def _texts(value: Attribute) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, Sequence) else (f"{value:g}" if isinstance(value, float) else str(value),)


def _format(name: str) -> str:
    return _FORMATS.get(Path(name).suffix, "Not provided")


def _platform(granule: Granule) -> str:
    """Return the satellite by its letter in the name, of the granule, its group or what it was made from: ``S1A_``."""
    names = " ".join([granule.name, *granule.values.get("GROUP_ID", ()), *granule.inputs])
    letter = next((letter for letter in "ABCD" if f"S1{letter}_" in names), "A")
    return f"SENTINEL-1{letter}" if granule.dataset in {"slc", "grd", "burst"} else f"Sentinel-1{letter}"


def _rings(footprint: BaseGeometry) -> list[dict[str, Any]]:
    """Return the outer rings, counter-clockwise and closed, as the catalogue wants them."""
    from shapely.geometry import Polygon
    from shapely.geometry.polygon import orient

    polygons = [part for part in getattr(footprint, "geoms", (footprint,)) if isinstance(part, Polygon)]
    rings = [list(orient(polygon).exterior.coords) for polygon in polygons]
    return [
        {"Boundary": {"Points": [{"Longitude": point[0], "Latitude": point[1]} for point in ring]}} for ring in rings
    ]
