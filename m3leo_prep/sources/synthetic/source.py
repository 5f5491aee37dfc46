"""A deterministic procedural Earth with physics: for demos and tests, no account, no network.

What computes is compiled (numba) and imported where it is used, so that the source can be listed and planned quickly.

Every value is a pure function of place, time and seed. The same ground looks the same from any chip and any
window, and the truth beneath noise, clouds and speckle can be asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Kind, LegendClass, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.text import near
from m3leo_prep.sources.synthetic import facts
from m3leo_prep.sources.synthetic.items import BOTH, RADAR, View, Wanted, find
from m3leo_prep.sources.synthetic.passes import number

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.synthetic.earth import Ground


@dataclass(frozen=True, slots=True)
class _Product:
    """What is fixed about a product."""

    variable: str
    kind: Kind
    bands: tuple[str, ...]
    pitch: float
    long_name: str
    unit: str = "1"
    is_static: bool = False
    legend: tuple[LegendClass, ...] = ()
    attributes: tuple[tuple[str, Any], ...] = ()


_STRIP_ROWS = 256
_PHASE = (("wavelength_m", facts.WAVELENGTH_M), ("sign", "positive towards the sensor"))
_PRODUCTS = {
    "relief": _Product("height", Kind.CONTINUOUS, ("height",), 30.0, "height above sea", "m", is_static=True),
    "landcover": _Product(
        "landcover", Kind.CLASSES, ("class",), 10.0, "land cover", is_static=True, legend=facts.LEGEND
    ),
    "s2": _Product(
        "reflectance",
        Kind.REFLECTANCE,
        facts.BANDS,
        10.0,
        "surface reflectance",
        attributes=(("cloud_rule", "synthetic: exact cloud mask"), ("negative_reflectance", "kept")),
    ),
    "s1": _Product(
        "backscatter",
        Kind.POWER,
        ("vv", "vh"),
        10.0,
        "terrain-flattened gamma nought",
        attributes=(
            ("backscatter_convention", "gamma0_rtc"),
            ("noise_removed", True),
            ("dem", "synthetic relief"),
            ("equivalent_looks", facts.ENL),
        ),
    ),
    "coherence": _Product(
        "coherence",
        Kind.COHERENCE,
        tuple(f"coh{days}" for days in facts.DELAYS_DAYS),
        80.0,
        "seasonal mean coherence by delay in days",
        attributes=(("looks", facts.COHERENCE_LOOKS),),
    ),
    "phase": _Product("phase", Kind.WRAPPED_PHASE, ("phase",), 80.0, "interferometric phase", "rad", attributes=_PHASE),
    "unwrapped": _Product("phase", Kind.UNWRAPPED_PHASE, ("phase",), 80.0, "unwrapped phase", "rad", attributes=_PHASE),
}


@dataclass(frozen=True, slots=True)
class Synthetic:
    """One product of the synthetic Earth.

    ``relief`` (height, 1 arcsec lon/lat), ``landcover`` (WorldCover's codes, 1/12000 degree lon/lat), ``s2``
    (reflectance, 10 m UTM tiles, every 5 days), ``s1`` (gamma0 power, 10 m UTM frames, every 12 days and both
    directions), ``coherence`` (by season and delay, 3 arcsec lon/lat), ``phase`` and ``unwrapped`` (12-day
    interferograms, 3 arcsec lon/lat). The archive spans 2015 to 2030.
    """

    product: str
    seed: int = 0
    """Another seed is another planet."""
    missing: float = 0.1
    """Share of passes (seasons of a coherence tile) that do not exist; half that share of orbits never looks."""
    cloud: float = 0.35
    """Share of ``s2`` that clouds hide."""
    bands: Sequence[str] = ()
    """Bands to deliver, in order; none = all. For ``s1`` the polarisations: vv, vh."""
    orbits: Sequence[str] = BOTH
    """Directions of ``s1``, ``phase`` and ``unwrapped``; each is a set of bands of ``s1``."""

    def __post_init__(self) -> None:
        where = "source 'synthetic'"
        if self.product not in _PRODUCTS:
            hint = near(str(self.product), _PRODUCTS)
            raise ConfigError(f"unknown product '{self.product}'", where=where, hint=hint)
        for share in ("missing", "cloud"):
            value = getattr(self, share)
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ConfigError(f"{share} is a share from 0 to 1, not {value!r}", where=where)
        bands = _choice("bands", self.bands or self._product.bands, self._product.bands)
        orbits = _choice("orbits", self.orbits, BOTH)
        # Frozen for its users; lists from a recipe become tuples here, once, so that a source can be a key.
        object.__setattr__(self, "bands", bands)
        object.__setattr__(self, "orbits", orbits)

    @property
    def _product(self) -> _Product:
        return _PRODUCTS[self.product]

    def describe(self) -> SourceInfo:
        """Return the product's one variable."""
        product = self._product
        bands = tuple(self.bands)
        if self.product == "s1":
            bands = tuple(f"{band}_{_short(orbit)}" for orbit in self.orbits for band in bands)
        variable = Variable(
            product.variable,
            product.kind,
            bands,
            product.unit,
            product.long_name,
            product.legend,
            dict(product.attributes),
        )
        return SourceInfo(
            (variable,),
            version="1",
            pitch=product.pitch,
            is_static=product.is_static,
            licence="CC0-1.0 (synthetic)",
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield tiles, frames or pairs by place and then by time."""
        return find(Wanted(self.product, self.seed, self.missing, tuple(self.orbits)), area, slots)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:  # noqa: ARG002 an item has one time
        """Yield each item's pixels around ``geobox`` on the item's grid."""
        for item in items:
            view = View.of(self.product, item, geobox, self.seed)
            if view is not None:
                yield self._raster(item, view, view.place.ground)

    def truth(self, lon: ArrayLike, lat: ArrayLike) -> Ground:
        """Return height, slope and class at points, exactly; arrays of any one shape."""
        from m3leo_prep.sources.synthetic.earth import ground

        return ground(np.asarray(lon, np.float64), np.asarray(lat, np.float64), self.seed)

    def true_power(self, item: Item, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
        """Return the expected power (2, ...) of VV and VH in a pass of ``s1``, without speckle and noise."""
        from m3leo_prep.sources.synthetic import radar

        lon, lat = np.atleast_2d(np.asarray(lon, np.float64)), np.atleast_2d(np.asarray(lat, np.float64))
        at = item.properties
        swath = RADAR.swath(int(at["relative_orbit"]), str(at["orbit_direction"]))
        power, _ = radar.mean_power(
            self.truth(lon, lat), swath.across(lon, lat), _green(item), ascending=_is_ascending(item)
        )
        return power

    def true_coherence(self, item: Item, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
        """Return the coherence (delay, ...) of a season, without the estimator's bias and noise."""
        from m3leo_prep.sources.synthetic import radar

        return radar.true_coherence(self.truth(lon, lat), _green(item))

    def _raster(self, item: Item, view: View, seen: Ground) -> Raster:
        from m3leo_prep.sources.synthetic import optics, radar

        row0, col0 = view.window.row0, view.window.col0
        noise_seed = number(self.seed, self.product, item.acquisition or item.id) >> 16
        valid, masked = view.inside, None
        names = list(self._product.bands)
        match self.product:
            case "relief":
                data: NDArray[Any] = seen.height[None]
            case "landcover":
                data = seen.classes[None]
            case "s2":
                data = optics.reflectance(seen, _green(item), row0, col0, noise_seed)
                masked = optics.cloudy(view.place.lon, view.place.lat, self.cloud, noise_seed + 100)
            case "s1":
                data, masked = self._look(item, view, seen, noise_seed)
                names = [f"{name}_{_short(str(item.properties['orbit_direction']))}" for name in names]
            case "coherence":
                truth = radar.true_coherence(seen, _green(item))
                data = radar.estimated_coherence(truth, row0, col0, noise_seed)
            case _:
                data = self._phase(item, view, seen, noise_seed)
        if masked is not None:
            masked = masked & view.inside
            valid = valid & ~masked
        variable = self.describe().variables[0]
        taken, present = _ordered(data, names, variable.bands)
        every = valid[None] & present[:, None, None]
        if masked is not None:
            masked = masked[None] & present[:, None, None]
        return Raster(taken, every, view.grid.geobox(view.window), item, variable.name, masked)

    def _look(
        self, item: Item, view: View, seen: Ground, noise_seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return VV and VH, (2, y, x), and where layover and shadow are; in strips, to need less memory."""
        from m3leo_prep.sources.synthetic import radar

        assert view.across is not None
        data = np.empty((2, *view.place.lon.shape), np.float32)
        masked = np.empty(view.place.lon.shape, bool)
        for start in range(0, len(view.place.lon), _STRIP_ROWS):
            rows = slice(start, start + _STRIP_ROWS)
            power, masked[rows] = radar.mean_power(
                seen.rows(rows), view.across[rows], _green(item), ascending=_is_ascending(item)
            )
            data[:, rows] = radar.speckled(power, view.window.row0 + start, view.window.col0, noise_seed)
        return data, masked

    def _phase(self, item: Item, view: View, seen: Ground, noise_seed: int) -> NDArray[np.float32]:
        from m3leo_prep.sources.synthetic import radar

        at = item.properties
        here, baseline, days = view.place, float(at["perp_baseline"]), int(at["days"])
        exact = radar.phase(here.lon, here.lat, seen, baseline, days, seed=self.seed)
        coherence = radar.true_coherence(seen, _green(item))[:1]
        noisy = exact[None] + radar.phase_noise(coherence, view.window.row0, view.window.col0, noise_seed)
        if self.product == "phase":
            noisy = np.angle(np.exp(1j * noisy))
        return noisy.astype(np.float32)


def _choice(option: str, given: Sequence[str], valid: Sequence[str]) -> tuple[str, ...]:
    where = "source 'synthetic'"
    if isinstance(given, str) or not given:
        raise ConfigError(f"{option} is a list", where=where, hint=near("", valid))
    for value in given:
        if value not in valid:
            raise ConfigError(f"unknown value '{value}' in {option}", where=where, hint=near(str(value), valid))
    if len(set(given)) < len(given):
        raise ConfigError(f"{option} names one twice: {', '.join(given)}", where=where)
    return tuple(given)


def _ordered(data: NDArray[Any], names: Sequence[str], wanted: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the wanted bands in order, and which of them ``data`` (bands ``names``) has."""
    present = np.array([name in names for name in wanted])
    if list(wanted) == list(names):
        return data, present
    out = np.zeros((len(wanted), *data.shape[1:]), data.dtype)
    for index, name in enumerate(wanted):
        if name in names:
            out[index] = data[list(names).index(name)]
    return out, present


def _short(orbit: str) -> str:
    return "asc" if orbit == "ascending" else "desc"


def _is_ascending(item: Item) -> bool:
    return item.properties["orbit_direction"] == "ascending"


def _green(item: Item) -> float:
    """Return the season at the item's centre, 0 ... 1."""
    from m3leo_prep.sources.synthetic import optics

    assert item.datetime is not None
    middle = item.footprint.bounds[1] / 2 + item.footprint.bounds[3] / 2
    return optics.greenness(middle, item.datetime.timetuple().tm_yday)


if TYPE_CHECKING:
    _: type[Source] = Synthetic
