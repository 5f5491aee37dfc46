"""OPERA RTC-S1-STATIC: the radar's geometry on the ground, one layer for each relative orbit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from m3leo_prep.core.raster import Absent, Item, Kind, LegendClass, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources._backscatter import BOTH
from m3leo_prep.sources._radar import directions
from m3leo_prep.sources.asf.opera.bursts import FILL
from m3leo_prep.sources.asf.opera.options import choose_variables
from m3leo_prep.sources.asf.opera.source import CITATION, CONCURRENT_READS, LICENCE, PITCH, VERSION
from m3leo_prep.sources.asf.source import Asf

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.source import Source

_DEM = {"dem": "Copernicus GLO-30"}
LAYERS: Mapping[str, tuple[Variable, str]] = MappingProxyType(
    {
        "local_incidence": (
            Variable(
                "local_incidence",
                Kind.CONTINUOUS,
                ("angle",),
                unit="degree",
                long_name="Angle between the line of sight and the normal of the terrain",
                attributes=_DEM,
            ),
            "local_incidence_angle",
        ),
        "incidence": (
            Variable(
                "incidence",
                Kind.CONTINUOUS,
                ("angle",),
                unit="degree",
                long_name="Angle between the line of sight and the normal of the ellipsoid, at the ground",
                attributes=_DEM,
            ),
            "incidence_angle",
        ),
        "looks": (
            Variable("looks", Kind.CONTINUOUS, ("looks",), long_name="Radar samples that a pixel was made of"),
            "number_of_looks",
        ),
        "gamma0_to_beta0": (
            Variable(
                "gamma0_to_beta0",
                Kind.CONTINUOUS,
                ("factor",),
                long_name="Area normalisation factor of terrain correction, gamma nought to beta nought",
                attributes=_DEM,
            ),
            "rtc_anf_gamma0_to_beta0",
        ),
        "gamma0_to_sigma0": (
            Variable(
                "gamma0_to_sigma0",
                Kind.CONTINUOUS,
                ("factor",),
                long_name="Area normalisation factor of terrain correction, gamma nought to sigma nought",
                attributes=_DEM,
            ),
            "rtc_anf_gamma0_to_sigma0",
        ),
        "layover_shadow": (
            Variable(
                "layover_shadow",
                Kind.CLASSES,
                ("mask",),
                long_name="Layover and shadow",
                legend=(
                    LegendClass(0, "neither", "#afafaf"),
                    LegendClass(1, "shadow", "#404040"),
                    LegendClass(2, "layover", "#ffffff"),
                    LegendClass(3, "layover_and_shadow", "#00ffff"),
                ),
                attributes=_DEM,
            ),
            "mask",
        ),
    }
)
"""Variable -> how it is described, and the product's name of it, which ends the names of its files."""


@dataclass(frozen=True, slots=True)
class OperaRtcStatic(Asf):
    """Geometry of the bursts: a slot for each relative orbit and direction, so that no two are ever mixed.

    It holds at all times: its granules are dated 2014-04-03, and found whatever times other layers ask for.
    """

    product: str = "opera-rtc-static"
    _: KW_ONLY
    variables: Sequence[str] = ()
    """Names of ``LAYERS``, in order; none = the local incidence angle."""
    orbits: Sequence[str] = BOTH
    """Directions that slots are made of."""
    _names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _ways: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", choose_variables(self.variables, list(LAYERS), ("local_incidence",)))
        object.__setattr__(self, "_ways", directions(self.orbits))

    def describe(self) -> SourceInfo:
        """Return the variables; items fill slots of orbits only."""
        return SourceInfo(
            tuple(LAYERS[name][0] for name in self._names),
            version=VERSION,
            pitch=PITCH,
            slot_kinds=("orbit",),
            concurrent_reads=CONCURRENT_READS,
            fetches_once=True,
            licence=LICENCE,
            citation=CITATION.format("Radiometric Terrain Corrected SAR Backscatter Static Layers (RTC-S1-STATIC)"),
            attributes={"asf": "OPERA_L2_RTC-S1-STATIC_V1"},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:  # noqa: ARG002  they hold at all times
        """Yield the static layers of the bursts that meet the area, by burst."""
        from m3leo_prep.sources.asf.opera.finding import find_static

        yield from find_static(self._ways, [LAYERS[name][1] for name in self._names], area)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  chosen already
        """Yield each variable of each item around ``geobox``, on its own grid.

        Raises:
            CorruptError: a file is damaged, or not where the catalogue says.
            TransientError, CredentialsError, NoData, StoreError: from fetching its files.
        """
        for item in items:
            yield from _read_static(item, self._names, geobox)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:  # noqa: ARG002  items know
        """Return requests and bytes of fetching the files of all items, each file once."""
        from m3leo_prep.sources.asf.fetching import fetching
        from m3leo_prep.sources.asf.opera.telling import files_of

        return fetching(files_of(items))


def _read_static(item: Item, names: Sequence[str], geobox: GeoBox) -> Iterator[Raster | Absent]:
    from m3leo_prep.sources.asf.opera.files import has, open_layers
    from m3leo_prep.sources.local.outline import windows

    there = {}
    for name in names:
        variable, layer = LAYERS[name]
        if has(item, layer):
            there[name] = layer
        else:
            yield Absent(item, name, variable.bands, Reason.LAYER_NOT_IN_VERSION)
    if not there:
        return
    layers = open_layers(item, list(there.values()))
    for name, layer in there.items():
        for window, place in windows(layers[layer].head.geobox, geobox):
            stored = layers[layer].read(window)[None]
            valid = stored != FILL if LAYERS[name][0].kind is Kind.CLASSES else np.isfinite(stored)
            yield Raster(stored, valid, place, item, name)


if TYPE_CHECKING:
    _source: type[Source] = OperaRtcStatic
