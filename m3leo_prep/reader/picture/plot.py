"""A picture of a chip: every layer, every slot, what the colours mean, and what is missing and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.core.text import near
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.picture.panels import make_block

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(dataset: Dataset, chip: str | int, *, layers: Sequence[str] | None = None, max_slots: int = 12) -> Figure:
    """Return a picture of a chip; notebooks show it, ``savefig`` writes it.

    Missing pixels are hatched and never a colour of a map. Limits are fixed by kind and unit where they can be, so that
    two chips compare.

    Args:
        dataset: the dataset.
        chip: id or row.
        layers: layers, or single variables as ``layer.variable``; None = all.
        max_slots: of a longer series, only this many slots are drawn, those with data first.

    Raises:
        ConfigError: no such chip, layer or variable.
        MissingDependency: matplotlib is not installed.
        StoreError: a shard or a table is absent.
        VerifyError: one is damaged.
    """
    row = dataset.row(chip)
    chosen = chosen_arrays(dataset, layers)
    try:
        from m3leo_prep.reader.picture.page import PIXELS, Header, colour, draw
    except ModuleNotFoundError as error:
        raise MissingDependency("pictures need matplotlib", hint="pip install 'm3leo-prep[plot]'") from error
    blocks = [
        make_block(dataset, row, layer, array, max_slots=max_slots, pixels=PIXELS, colour=colour)
        for layer, array in chosen
    ]
    place = dataset.table("chips.parquet", ["chip_id", "epsg", "lon", "lat"]).slice(row, 1).to_pylist()[0]
    manifest = dataset.manifest
    subtitle = (
        f"{manifest['name']}, area {manifest['area']['name']}   ·   row {row}   ·   "
        f"{_degrees(place['lat'], 'NS')} {_degrees(place['lon'], 'EW')}   ·   EPSG:{place['epsg']}"
    )
    side = chosen[0][0].pitch * chosen[0][0].size
    return draw(Header(place["chip_id"], subtitle, side), blocks)


def chosen_arrays(dataset: Dataset, names: Sequence[str] | None) -> list[tuple[StoredLayer, StoredArray]]:
    """Return the variables that names ask for, in their order; None = all.

    Raises:
        ConfigError: no such layer or variable, or none at all.
    """
    if names is not None and not names:
        raise ConfigError("no layer is given", where=dataset.url, hint=near("", dataset.layers))
    made = []
    for name in dict.fromkeys(dataset.layers if names is None else names):
        layer_name, _, variable = name.partition(".")
        layer = dataset.layer(layer_name)
        made += [(layer, array) for array in ([layer.array(variable)] if variable else layer.arrays.values())]
    return made


def _degrees(value: float, sides: str) -> str:
    return f"{abs(value):.4f}° {sides[value < 0]}"
