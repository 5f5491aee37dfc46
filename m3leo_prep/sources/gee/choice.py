"""What a recipe's layer asks of Earth Engine, with every choice made: the value that all else here works from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from m3leo_prep.core.layer import Statistic
from m3leo_prep.core.raster import Variable

Family = Literal["radar", "optical", "plain"]
"""How images of a product become values: backscatter by orbit, reflectance without clouds, or numbers as they are."""
Mode = Literal["composite", "native", "computed"]
"""composite: images of a slot become one on Earth Engine's side, on our lattice. native: each image comes in its own
pixels and is warped and composited here. computed: a user's image, computed on our lattice."""
Kernel = Literal["nearest", "bilinear", "bicubic"]


Transform = Literal["none", "from_decibel", "squared"]
"""What is done to a number first: nothing, 10 ** (number / 10), number ** 2."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One variable of the layer, and how Earth Engine's numbers become its values: transform(number) x scale + offset.

    Which numbers mean no data is decided before.
    """

    variable: Variable
    names: tuple[str, ...]
    """The asset's band for each of the variable's bands; empty text where it is made here."""
    dtype: str = "float32"
    """Smallest type that holds the asset's numbers (uint8, uint16, int16, int32, float32), as its table says."""
    transform: Transform = "none"
    scale: float = 1.0
    offset: float = 0.0
    nodata: tuple[float, ...] = ()
    """Numbers that mean no data, beside what Earth Engine masks."""
    flags: tuple[int, ...] = ()
    """Numbers that are no values but mean something: observed, not valid."""
    flags_of: str = ""
    """Of a variable of flags: the quantity whose ``flags``, which it has too, are its classes: 0 where there is none, n
    at the n-th flag."""
    valid_range: tuple[float, float] | None = None
    """Of the numbers, from the catalogue."""


@dataclass(frozen=True, slots=True)
class Row:
    """One product of Earth Engine, as its table says."""

    name: str
    title: str
    asset: str
    """Id of the collection, or of the one image."""
    is_collection: bool
    family: Family
    mode: Mode
    pitch: float
    """Native pixel size in metres."""
    kernel: Kernel
    """By which each image is resampled on Earth Engine's side before it is composited."""
    quantities: tuple[Quantity, ...]
    """All it has; a choice takes some."""
    licence: str
    citation: str
    url: str
    """Its page in Earth Engine's catalogue."""
    filters: Mapping[str, Any] = field(default_factory=dict)
    """Property -> value that images must have."""
    first: date | None = None
    """First day with data."""
    last: date | None = None
    """Last day with data, None while it goes on."""
    years: tuple[int, ...] = ()
    """Years that exist, where they are not all between ``first`` and ``last``."""
    domain: tuple[float, float, float, float] = (-180.0, -90.0, 180.0, 90.0)
    """west, south, east, north: where it has data."""
    reach_m: float = 0.0
    """Metres by which an image's pixels may lie outside its outline."""
    gaps: tuple[tuple[date, date, str], ...] = ()
    """First and last day, and what is missing between them; of a choice: those that matter to it."""
    main: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Quantity -> bands that a recipe gets which names none."""
    clouds: tuple[str, ...] = ()
    """Of optical: the rules by which it can say that a pixel is cloud, its own one first."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What a user must know of all its variables."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A layer of a recipe: a product, and what of it."""

    row: Row
    quantities: tuple[Quantity, ...]
    """Those asked for, with the bands asked for, in order; bands of radar are named by direction: ``vv_asc``."""
    mode: Mode
    kernel: Kernel
    statistic: Statistic
    """Of ``composite``."""
    year: int | None = None
    """Of a layer without slots: the one year that is taken."""
    orbits: tuple[str, ...] = ()
    """Of radar: ``ascending``, ``descending``."""
    relative_orbits: Literal["all", "best"] | tuple[int, ...] = "all"
    cloud: Literal["none", "scl", "qa60", "cloud_score"] = "none"
    """Of optical: what says that a pixel is cloud."""
    cloud_classes: tuple[int, ...] = ()
    """Of ``scl``: classes that are discarded."""
    clear_from: float = 0.6
    """Of ``cloud_score``: least score of a clear pixel."""
    max_cloud: float | None = None
    """Images with more cloud, in percent of the image, are left out."""
    script: str = ""
    """``file.py:function`` that gives the image or collection."""
    code: str = ""
    """SHA-256 of that file."""
