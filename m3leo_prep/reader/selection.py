"""What a loader reads: names of layers, bands and slots turned into indices, and checked across datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.text import near
from m3leo_prep.reader.companions import open_companion
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer

Bands = Mapping[str, Sequence[str]]
Slots = Mapping[str, Sequence[str] | Sequence[int]]


@dataclass(frozen=True, slots=True)
class Pick:
    """The part of one variable that is read."""

    layer: StoredLayer
    array: StoredArray
    slots: tuple[int, ...]
    bands: tuple[int, ...]


def resolve(
    dataset: Dataset, names: Iterable[str], bands: Bands, slots: Slots, *, counts: bool = False
) -> dict[str, Pick]:
    """Return what to read by key: ``layer``, or ``layer.variable`` where a layer has several.

    Args:
        dataset: where from.
        names: layers, or single variables as ``layer.variable``.
        bands: names of bands by key, in the order of the result; all where a key is not listed.
        slots: labels or indices of slots by layer or key, likewise.
        counts: read those of acquisitions, too, where a layer alone is named; else only where they are named
            themselves. They change no other key.

    Raises:
        ConfigError: an unknown layer, variable, band or slot; the hint lists near names.
    """
    found: dict[str, tuple[StoredLayer, StoredArray]] = {}
    for name in names:
        layer_name, _, variable = name.partition(".")
        layer = dataset.layer(layer_name)
        arrays = [layer.array(variable)] if variable else layer.arrays.values() if counts else layer.own
        found |= {layer.key(array): (layer, array) for array in arrays}
    if not found:
        raise ConfigError("no layer is asked for", where=dataset.url, hint=near("", dataset.layers))
    check_keys("bands", bands, found)
    check_keys("slots", slots, [*found, *(layer.name for layer, _ in found.values())])
    return {
        key: Pick(layer, array, _slots(layer, slots.get(key, slots.get(layer.name))), _bands(key, array, bands))
        for key, (layer, array) in found.items()
    }


def check_keys(argument: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ConfigError if an argument speaks of something that is not read."""
    known = list(dict.fromkeys(known))
    for key in given:
        if key not in known:
            hint = "these can be named: " + ", ".join(known)
            raise ConfigError(f"`{argument}` names '{key}', which is not read here", hint=hint)


def check_agreement(datasets: Sequence[Dataset], picks: Sequence[Mapping[str, Pick]], *, allow_mixed: bool) -> None:
    """Raise ConfigError if the same key means another thing in another dataset.

    Args:
        datasets: the datasets.
        picks: what is read of each.
        allow_mixed: accept other units, kinds, legends, slots and radiometric identity; never other shapes.
    """
    for dataset, pick in zip(datasets[1:], picks[1:], strict=True):
        if pick.keys() != picks[0].keys():
            raise ConfigError(
                f"{datasets[0].url} has {', '.join(picks[0])}, but {dataset.url} has {', '.join(pick)}",
                hint="name single variables as `layer.variable`",
            )
        for key, second in pick.items():
            shapes = _shape(picks[0][key]), _shape(second)
            identities = ({}, {}) if allow_mixed else (_identity(picks[0][key]), _identity(second))
            for name, one, other in (*_differences(*shapes), *_differences(*identities)):
                raise ConfigError(
                    f"'{name}' of '{key}' is {one!r} in {datasets[0].url}, but {other!r} in {dataset.url}",
                    hint="" if name in shapes[0] else "open them apart, or pass allow_mixed=True if you mean it",
                )


def has_data(dataset: Dataset, pick: Pick) -> NDArray[np.bool_]:
    """Return (chip,) True where at least one pixel of the picked slots and bands is valid.

    Raises:
        StoreError: the dataset's ``<variable>_valid`` is not there.
    """
    name = f"{pick.array.name}_valid"
    percent = open_companion(dataset.root, pick.layer.name, name).all()[..., list(pick.bands)]
    if not pick.layer.is_static:
        percent = percent[:, list(pick.slots)]
    some = (percent > 0) & (percent != Reason.NOT_BUILT)
    return np.asarray(some.reshape(len(some), -1).any(axis=1))


def _bands(key: str, array: StoredArray, bands: Bands) -> tuple[int, ...]:
    wanted = bands.get(key)
    if wanted is None:
        return tuple(range(len(array.bands)))
    return _indices("band", wanted, array.bands, where=key)


def _slots(layer: StoredLayer, wanted: Sequence[str] | Sequence[int] | None) -> tuple[int, ...]:
    if wanted is None:
        return tuple(range(len(layer.slots)))
    if layer.is_static:
        raise ConfigError("a static layer has no slots to choose from", where=f"layer {layer.name}")
    return _indices("slot", wanted, [slot.label for slot in layer.slots], where=f"layer {layer.name}")


def _indices(what: str, wanted: Sequence[str] | Sequence[int], labels: Sequence[str], *, where: str) -> tuple[int, ...]:
    """Return the places of labels; slots may be given by place already."""
    if isinstance(wanted, str) or not wanted:
        raise ConfigError(f"give a list of {what}s, not {wanted!r}", where=where, hint=near("", labels))
    places = []
    for label in wanted:
        if label in labels:
            places.append(labels.index(str(label)))
        elif what == "slot" and not isinstance(label, str) and 0 <= label < len(labels):
            places.append(int(label))
        else:
            raise ConfigError(f"there is no {what} {label!r}", where=where, hint=near(str(label), labels))
    return tuple(places)


def _shape(pick: Pick) -> dict[str, Any]:
    """Return what decides a tensor's shape and type."""
    return {
        "bands": [pick.array.bands[i] for i in pick.bands],
        "number of slots": None if pick.layer.is_static else len(pick.slots),
        "pixels": pick.layer.size,
        "classes": pick.array.is_class,
    }


def _identity(pick: Pick) -> dict[str, Any]:
    """Return what decides what its numbers mean."""
    about = pick.array.about
    decided = {key: about.get(key) for key in ("kind", "unit", "transform", "method", "statistic", "legend")}
    slots = [pick.layer.slots[i].label for i in pick.slots]
    attributes = dict(pick.layer.attributes) | dict(about.get("attributes", {}))
    return {"pitch": pick.layer.pitch, "slots": slots} | decided | attributes


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in (*one, *(key for key in other if key not in one)):
        if one.get(name) != other.get(name):
            yield name, one.get(name), other.get(name)
