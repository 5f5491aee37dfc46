"""Chips as files that hold all of their layers: NetCDF by the CF conventions, and a tar for the WebDataset library."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Kind
from m3leo_prep.pipeline.export.about import Files, chip_place, facts_of, key_of, legend_of, plain_name, slots_of
from m3leo_prep.reader.chosen import DATES, chosen
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.selection import Pick
from m3leo_prep.store.documents import snake_case

EPOCH = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}


def netcdf(dataset: Dataset, rows: Sequence[int], picks: Sequence[Pick]) -> Files:
    """Yield a NetCDF file per chip, with a group per layer."""
    for row in rows:
        yield f"{chip_place(dataset, row)['chip_id']}.nc", partial(_write_netcdf, dataset, row, picks)


def webdataset(dataset: Dataset, rows: Sequence[int], picks: Sequence[Pick]) -> Files:
    """Yield one tar with a sample per chip."""
    name = f"{dataset.manifest['area']['name']}-{dataset.manifest['name']}"
    yield f"{plain_name(name)}-000000.tar", partial(_write_webdataset, dataset, rows, picks)


def _write_netcdf(dataset: Dataset, row: int, picks: Sequence[Pick], path: Path) -> None:
    import h5netcdf  # noqa: F401  named in the message where it is missing
    import xarray as xr

    by_layer: dict[str, list[Pick]] = {}
    for pick in picks:
        by_layer.setdefault(pick.layer.name, []).append(pick)
    about = {
        "Conventions": "CF-1.11",
        "title": f"chip {chip_place(dataset, row)['chip_id']} of {dataset.manifest['name']}",
        "dataset_id": dataset.manifest["dataset_id"],
        **chip_place(dataset, row),
    }
    root = xr.Dataset(attrs={key: value for key, value in about.items() if value is not None})
    groups = {name: _group(dataset, row, of_layer) for name, of_layer in by_layer.items()}
    tree = xr.DataTree.from_dict({"/": root, **groups})
    tree.to_netcdf(path, engine="h5netcdf", format="NETCDF4")


def _group(dataset: Dataset, row: int, picks: Sequence[Pick]) -> Any:
    """Return a layer of a chip as an ``xarray.Dataset`` by the CF conventions."""
    import xarray as xr

    layer = picks[0].layer
    variables = {}
    for pick in picks:
        made = dataset.chip(row, layer.name, pick.array.name)
        made = made if len(layer.arrays) == 1 else made.rename(band=f"{pick.array.name}_band")
        about = facts_of(dataset, row, layer, pick.array) | {"long_name": pick.array.name.replace("_", " ")}
        made.attrs = {key: _attribute(value) for key, value in about.items() if value not in ("", None)}
        made.attrs |= _flags(pick.array) | {"grid_mapping": "spatial_ref"}
        made.encoding = {"zlib": True, "shuffle": True}
        if not pick.array.is_class:
            made.encoding["_FillValue"] = np.float32(np.nan)
        variables[pick.array.name] = made
    group = xr.Dataset(variables)
    if not layer.is_static and layer.slots[0].kind == "period":
        spans = [
            [slot.start and slot.start.replace(tzinfo=None), slot.end and slot.end.replace(tzinfo=None)]
            for slot in layer.slots
        ]
        group = group.assign_coords(time_bounds=(("time", "bound"), np.array(spans, "datetime64[ns]")))
        group["time"].attrs |= {"standard_name": "time", "axis": "T", "bounds": "time_bounds"}
        group["time"].encoding = group["time_bounds"].encoding = EPOCH
    elif not layer.is_static:
        group = group.assign_coords(_chosen(dataset, row, layer))
        group["time"].attrs |= {"long_name": f"number of the {layer.slots[0].kind}"}
    for axis in ("x", "y"):
        group[axis].attrs |= {"standard_name": f"projection_{axis}_coordinate", "axis": axis.upper()}
        group[axis].encoding = {"_FillValue": None}
    about = {"layer": layer.name, "license": layer.licence, "references": layer.citation}
    return group.assign_attrs({key: value for key, value in about.items() if value})


def _chosen(dataset: Dataset, row: int, layer: StoredLayer) -> dict[str, Any]:
    """Return which pair or orbit each slot is, as coordinates along time: times as times, numbers, else words."""
    found = chosen(dataset, row, layer)
    made: dict[str, Any] = {}
    for name in dict.fromkeys(name for facts in found for name in facts):
        values = [facts.get(name) for facts in found]
        example = next(value for value in values if value is not None)
        if name in DATES:
            times = np.array([value and value.removesuffix("+00:00") for value in values], "datetime64[ns]")
            made[name] = ("time", times, {}, EPOCH | {"dtype": "float64"})
        elif isinstance(example, str):
            made[name] = ("time", [value or "" for value in values])
        elif not isinstance(example, list):
            made[name] = ("time", np.array([np.nan if value is None else value for value in values], np.float64))
        else:
            nothing = [np.nan] * len(example)
            bands = [[np.nan if one is None else one for one in value or nothing] for value in values]
            made[name] = (("time", f"{name}_band"), np.array(bands, np.float64))
    return made


def _write_webdataset(dataset: Dataset, rows: Sequence[int], picks: Sequence[Pick], path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for row in rows:
            place = chip_place(dataset, row)
            for pick in picks:
                values, valid = dataset.read(row, pick.layer.name, pick.array.name)
                _add(tar, f"{place['chip_id']}.{key_of(pick)}.npy", _npy(values))
                _add(tar, f"{place['chip_id']}.{key_of(pick)}_mask.npy", _npy(valid))
            known = place | {"layers": {key_of(pick): _described(dataset, row, pick) for pick in picks}}
            _add(tar, f"{place['chip_id']}.json", json.dumps(known, indent=1, sort_keys=True).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file without time or owner, so that the same chips give the same bytes."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def _described(dataset: Dataset, row: int, pick: Pick) -> dict[str, Any]:
    """Return what the JSON of a sample says of a variable."""
    layer, array = pick.layer, pick.array
    about = {key: value for key, value in facts_of(dataset, row, layer, array).items() if key != "chip_id"}
    legend = [{"code": entry["code"], "name": entry["name"]} for entry in legend_of(array)]
    return about | {
        "axes": ["band", "y", "x"] if layer.is_static else ["time", "band", "y", "x"],
        "bands": list(array.bands),
        "slots": slots_of(dataset, row, layer),
        "pitch": layer.pitch,
        "size": layer.size,
        "no_data": array.fill if array.is_class else "NaN",
        **({"legend": legend} if legend else {}),
    }


def _flags(array: StoredArray) -> dict[str, Any]:
    """Return CF's attributes of classes; the no-data code is listed like any other, so that codes stay integers."""
    if not array.is_class:
        return {}
    legend = sorted(legend_of(array), key=lambda entry: int(entry["code"]))
    names = [snake_case(entry["name"]) for entry in legend]
    codes = [entry["code"] for entry in legend]
    no_data = np.array(array.fill, array.dtype)
    if array.kind == Kind.BITS:
        flags = {"flag_masks": np.array(codes, array.dtype), "flag_meanings": " ".join(names)} if legend else {}
    else:
        flags = {
            "flag_values": np.array([*codes, array.fill], array.dtype),
            "flag_meanings": " ".join([*names, "no_data"]),
        }
    return flags | {"no_data": no_data}


def _attribute(value: Any) -> Any:
    """Return a value that NetCDF can hold: text and numbers as they are, the rest as JSON."""
    return value if isinstance(value, (str, int, float)) and not isinstance(value, bool) else json.dumps(value)
