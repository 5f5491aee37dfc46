"""The YAML head of a card, which the Hub reads: licence, tags, size, and what its viewer shows.

Keys: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from m3leo_prep.core.raster import Kind
from m3leo_prep.publish.description.licences import Licence

SIZES = (
    *((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")),
    (10**8, "10M<n<100M"),
)
ALWAYS = ("remote-sensing", "earth-observation", "satellite-imagery", "geospatial", "zarr", "m3leo-prep")
SENTINEL = "copernicus sentinel data"
"""How the licence of what the Sentinels saw begins."""
RADAR = {Kind.POWER, Kind.COHERENCE, Kind.WRAPPED_PHASE, Kind.UNWRAPPED_PHASE}
INTERFEROMETRIC = RADAR - {Kind.POWER}


def head(manifest: Mapping[str, Any], licence: Licence, page: str) -> str:
    """Return the head between its two lines of dashes.

    Args:
        manifest: the dataset's.
        licence: of the whole.
        page: address of the card on the Hub; empty elsewhere.
    """
    made: dict[str, Any] = {"license": licence.hub_id}
    if licence.hub_id == "other":
        made["license_name"] = "terms-of-the-inputs"
        if page:  # the Hub takes an address, or a file called LICENSE
            made["license_link"] = f"{page}#licence"
    made |= {
        "pretty_name": pretty_name(manifest),
        "size_categories": [size_category(int(manifest["n_chips"]))],
        "task_categories": tasks(manifest),
        "tags": list(tags(manifest)),
        "configs": list(_configs(manifest)),
    }
    text = yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{text}---\n"


def pretty_name(manifest: Mapping[str, Any]) -> str:
    """Return the name for people: that of the recipe and that of the area, once where they are the same."""
    name, area = manifest["name"], " ".join(str(manifest["area"]["name"]).split())
    return name if name == area else f"{name}, {area}"


def size_category(n: int) -> str:
    """Return how the Hub writes the number of rows."""
    return next((name for limit, name in SIZES if n < limit), "100M<n<1B")


def tasks(manifest: Mapping[str, Any]) -> list[str]:
    """Return the Hub's tasks that the dataset serves: pixel labels make it one of segmentation."""
    has_classes = any(
        layer["role"] == "label" and array["kind"] == Kind.CLASSES
        for layer in manifest["layers"].values()
        for array in layer["arrays"]
    )
    return ["image-segmentation"] if has_classes else ["image-feature-extraction"]


def tags(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield tags: those of every dataset, then what the layers are."""
    found: dict[str, None] = dict.fromkeys(ALWAYS)
    for layer in manifest["layers"].values():
        kinds = {Kind(array["kind"]) for array in layer["arrays"]}
        about = f"{layer.get('licence', '')} {layer.get('citation', '')}".lower()
        if kinds & RADAR:
            found["sar"] = None
        if kinds & INTERFEROMETRIC:
            found["insar"] = None
        if layer["source"] == "synthetic":
            found["synthetic"] = None
        seen_by_sentinel = SENTINEL in about
        if "sentinel-1" in about or (seen_by_sentinel and kinds & RADAR):
            found["sentinel-1"] = None
        if "sentinel-2" in about or (seen_by_sentinel and Kind.REFLECTANCE in kinds):
            found["sentinel-2"] = None
        if Kind.REFLECTANCE in kinds:
            found["optical"] = None
        if len(layer["slots"]) > 1:
            found["time-series"] = None
    if tasks(manifest) == ["image-segmentation"]:
        found["semantic-segmentation"] = None
    yield from found


def _configs(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the tables that the viewer shows and ``load_dataset`` loads, pictures first."""
    yield {
        "config_name": "previews",
        "default": True,
        "data_files": [{"split": "preview", "path": "previews/*.parquet"}],
    }
    yield {"config_name": "chips", "data_files": [{"split": "chips", "path": "chips.parquet"}]}
    if "units.parquet" in manifest["files"]:
        yield {"config_name": "units", "data_files": [{"split": "units", "path": "units.parquet"}]}
