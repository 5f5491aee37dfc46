"""What travels from a source to a chip: variables, slots, items, rasters.

Where pixels are is always an ``odc.geo.geobox.GeoBox``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.reasons import Reason

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry


class Kind(StrEnum):
    """What a number means, which decides how it may be resampled, averaged and encoded."""

    POWER = "power"
    """Backscatter in linear power (never dB); stored as dB. Values <= 0 are legal (noise removed)."""
    COHERENCE = "coherence"
    """Interferometric coherence magnitude, 0...1."""
    REFLECTANCE = "reflectance"
    """Surface or top-of-atmosphere reflectance as a fraction; slightly negative is legal."""
    WRAPPED_PHASE = "wrapped_phase"
    """Interferometric phase in rad, modulo 2 pi: resampled as a complex number."""
    UNWRAPPED_PHASE = "unwrapped_phase"
    """Unwrapped phase in rad: never mixed across connected components."""
    ANGLE = "angle"
    """Direction in degrees, 0...360, circular: resampled as a unit vector."""
    CONTINUOUS = "continuous"
    """Any smooth quantity: height, temperature, biomass, percent cover."""
    UNCERTAINTY = "uncertainty"
    """One standard deviation of a quantity, resampled in quadrature. The variable's attribute ``correlation`` (0...1)
    says how the errors of neighbouring source pixels correlate."""
    AMOUNT = "amount"
    """A total per cell (people, built-up m2): sums are conserved."""
    CLASSES = "classes"
    """Category codes: nearest, or the area-weighted majority when coarsened."""
    BITS = "bits"
    """Bit flags: nearest, or bitwise or when coarsened."""


@dataclass(frozen=True, slots=True)
class LegendClass:
    """One class of a categorical variable."""

    code: int
    name: str
    color: str = ""
    """``#rrggbb``, empty if the product has none."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One array of a layer: bands of the same kind, unit and dtype."""

    name: str
    kind: Kind
    bands: tuple[str, ...]
    unit: str = "1"
    """Unit of the values that the source returns (``1`` for linear power and fractions)."""
    long_name: str = ""
    legend: tuple[LegendClass, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Radiometric identity and whatever else a user must know; JSON values."""
    kernel: str = ""
    """Name of the warp method by which the source itself resamples to the lattice that it is asked for, where it does;
    empty: it gives its own pixels, and they are warped here."""


SlotKind = Literal["period", "pair", "orbit"]


@dataclass(frozen=True, slots=True)
class Slot:
    """One step of the time axis, half-open ``[start, end)`` in UTC; static layers have one without times.

    Which items fill a period is said by their dates alone. Pairs and orbits are chosen for each chip by the layer's
    rule, see ``core.choice``; ``start`` and ``end`` of a pair are the period in which both of its dates lie.
    """

    label: str
    start: datetime | None = None
    end: datetime | None = None
    kind: SlotKind = "period"

    @property
    def is_static(self) -> bool:
        """True for the only slot of a layer without a time axis."""
        return self.start is None and self.kind == "period"

    def contains(self, when: datetime | None) -> bool:
        """True if ``when`` (UTC) falls into the slot; a slot without times takes everything."""
        if self.start is None or self.end is None:
            return True
        return when is not None and self.start <= when < self.end


STATIC = Slot("static")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a source can deliver: a scene, a granule, a tile. Metadata only, never a signed URL."""

    id: str
    footprint: BaseGeometry
    """Lon/lat outline of the data."""
    version: str = ""
    """Changes when the pixels may have changed: an etag, or size and modification time."""
    datetime: datetime | None = None
    """Mid or start of acquisition, UTC; None for undated data."""
    acquisition: str = ""
    """Tiles and slices of one satellite pass share it and count once; empty = the item itself."""
    properties: Mapping[str, str | int | float] = field(default_factory=dict)
    """``path``, ``orbit_direction``, ``relative_orbit`` ...: what ``read`` needs and provenance keeps. The item of a
    raster may tell ``orbit_files`` (``precise``, ``restituted``), too: known only when it is made."""


@dataclass(frozen=True, slots=True)
class Raster:
    """Pixels of one item and one variable, on the item's own grid."""

    data: NDArray[Any]
    """(band, y, x) in the variable's kind and unit; what invalid pixels hold does not matter."""
    valid: NDArray[np.bool_]
    """(band, y, x), True where the pixel may be used."""
    geobox: GeoBox
    item: Item
    variable: str
    """Name of the variable; its bands are all there, in order."""
    masked: NDArray[np.bool_] | None = None
    """True where the sensor looked but the pixel was discarded (cloud, shadow, layover): (y, x), or (band, y, x) where
    the item holds only some of the bands."""
    components: NDArray[np.int32] | None = None
    """(y, x) connected-component labels of unwrapped phase; no other kind has them."""

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or self.valid.shape != self.data.shape:
            msg = f"data {self.data.shape} and valid {self.valid.shape} must both be (band, y, x)"
            raise ValueError(msg)
        if self.data.shape[1:] != tuple(self.geobox.shape):
            msg = f"data {self.data.shape} does not fit its geobox {tuple(self.geobox.shape)}"
            raise ValueError(msg)
        if self.masked is not None and self.masked.shape not in {self.data.shape, self.data.shape[1:]}:
            msg = f"masked {self.masked.shape} must be (y, x) = {self.data.shape[1:]} or as data {self.data.shape}"
            raise ValueError(msg)
        if self.components is not None and self.components.shape != self.data.shape[1:]:
            msg = f"components {self.components.shape} must be (y, x) = {self.data.shape[1:]}"
            raise ValueError(msg)

    @property
    def observed(self) -> NDArray[np.bool_]:
        """(band, y, x), True where the sensor looked, whether or not the pixel may be used."""
        return self.valid if self.masked is None else self.valid | self.masked


@dataclass(frozen=True, slots=True)
class Absent:
    """Bands that an item does not hold, and will not: what ``read`` yields in place of their pixels."""

    item: Item
    variable: str
    bands: tuple[str, ...]
    reason: Reason
    """``BAND_NOT_IN_PRODUCT``, ``LAYER_NOT_IN_VERSION`` ...: given to chips that nothing else gives pixels to."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a configured source delivers; it answers without touching pixels."""

    variables: tuple[Variable, ...]
    version: str
    """Bumped when the same items would give other pixels; part of every unit's digest."""
    pitch: float | None = None
    """Native pixel size in metres, for the choice of the lattice; None = any."""
    dear_blocks: bool = False
    """True where decoding re-reads large blocks (JP2): the plan then makes larger units."""
    is_static: bool = False
    """True if the source has no times at all."""
    composites: bool = False
    """True if the source composites: ``read`` is asked for all items of a slot at once and yields, by variable, the one
    raster that they make together, on the GeoBox asked for or on one that divides its pixels."""
    joint: bool = False
    """True if the items of one acquisition are read together, in one call of ``read``: frames that must be fitted."""
    slot_kinds: tuple[SlotKind, ...] = ("period",)
    """What the items can fill: periods by their dates, or pairs or orbits by the properties that ``core.choice``
    names."""
    year: int | None = None
    """The one year of a product that has no other: what a bare ``slots: seasons`` means."""
    nothing: Reason | None = None
    """Why no item gives a chip any pixel; None = ``NO_ACQUISITION``, and of static layers ``NOT_IN_DATASET``."""
    pair_days: int | None = None
    """Most days between the two dates of a pair that it forms; None = whatever pairs there are."""
    on_heights: tuple[str, ...] = ()
    """Variables that are computed at the heights of the ground: the layer must then name its ``dem``."""
    ground_reach: float = 0.0
    """Metres around a chip whose heights decide its pixels, too: hills beside it lie over it in a radar image."""
    concurrent_reads: int = 1
    """Reads of one unit worth having under way at once: more than 1 where a provider's answer is waited for."""
    fetches_once: bool = False
    """True if what is fetched of an item serves every window that it reaches, such as whole files that are kept: what
    that takes is estimated once for all windows together."""
    licence: str = "unknown"
    citation: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
