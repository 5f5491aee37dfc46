"""Pixels of one image on the lattice: placed, read in windows, denoised, calibrated, resampled, flattened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.core.raster import Absent, Item, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.ops.sar.calibrate import calibrate
from m3leo_prep.ops.sar.flatten import terrain
from m3leo_prep.ops.sar.geocode import Positions, gcp_locate, positions, sample
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.copernicus.grd.border import CLEAN, border, strips
from m3leo_prep.sources.copernicus.grd.files import Product
from m3leo_prep.sources.copernicus.grd.heights import datum_of, ellipsoidal, lonlat, relief
from m3leo_prep.sources.copernicus.grd.noise import check_estimated
from m3leo_prep.sources.copernicus.grd.options import RTC, Options
from m3leo_prep.sources.copernicus.grd.safe import Annotation
from m3leo_prep.sources.remote.rasters import read_many

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.ops.sar.geocode import Heights as Ellipsoidal
    from m3leo_prep.ports.heights import Heights
    from m3leo_prep.sources.remote.access import Access

VARIABLE = "backscatter"
BLOCK = 1024
"""Radar pixels along a part of the target that is made at once: 60 MB of work, with flattening 300 (measured), whatever
the size of the image and of the target."""
LEAST = 16
"""Target pixels along such a part, at least."""
MAX_RELIEF = 50.0
"""Metres: relief that moves pixels by 90 m at 29 degrees of incidence, 50 m at 45 (height / tan of incidence)."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A part of the target in the radar image."""

    positions: Positions
    factor: NDArray[np.float32] | None = None
    """By which brightness is divided."""
    hidden: Mask | None = None
    """Layover and shadow."""


def read_image(
    item: Item, options: Options, access: Access, geobox: GeoBox, heights: Heights | None
) -> Iterator[Raster | Absent]:
    """Yield the backscatter of an image on ``geobox``, or that it has none of a polarisation.

    The bands of the other direction are there, and observed nowhere. Nothing is yielded where the image does not reach.

    Args:
        item: the image.
        options: of the layer.
        access: how its files are opened.
        geobox: the target.
        heights: of its ground; None = the layer has none.

    Raises:
        ConfigError: heights are needed and there are none, nobody knows what they are above, or the ground is too
            steep to do without.
        CorruptError: a file is missing, damaged, or contradicts another.
        TransientError, CredentialsError: from reading.
    """
    own = [band for band in options.bands if band.direction == item.properties["orbit_direction"]]
    has = str(item.properties["polarisations"]).split()
    missing = tuple(band.name for band in own if band.polarisation not in has)
    if missing:
        yield Absent(item, VARIABLE, missing, Reason.BAND_NOT_IN_PRODUCT)
    rows = {band.polarisation: options.bands.index(band) for band in own if band.polarisation in has}
    if not rows:
        return
    image = _Image(Product.of(item, access), options, tuple(rows), co_polarised(has), heights)
    shape = (len(options.bands), *geobox.shape)
    data, valid, masked = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
    for part in parts(geobox, image.scale(geobox)):
        found = image.made(geobox[part])
        for polarisation, (power, good, dropped) in found.items():
            at = rows[polarisation], *part
            data[at], valid[at], masked[at] = power, good, dropped
    if valid.any() or masked.any():
        yield Raster(data, valid, geobox, item, VARIABLE, masked)


def parts(geobox: GeoBox, scale: tuple[float, float]) -> Iterator[tuple[slice, slice]]:
    """Yield the (rows, columns) of blocks of a target that are about ``BLOCK`` radar pixels long."""
    edge = max(LEAST, int(BLOCK / max(1.0, *scale)))
    height, width = geobox.shape
    for top in range(0, height, edge):
        for left in range(0, width, edge):
            yield slice(top, min(top + edge, height)), slice(left, min(left + edge, width))


def co_polarised(has: list[str]) -> str:
    """Return the polarisation by which the border is told; a product has one that was received as it was sent."""
    return next((one for one in has if one in {"VV", "HH"}), has[0])


@dataclass(frozen=True, slots=True)
class _Image:
    product: Product
    options: Options
    polarisations: tuple[str, ...]
    co_polarised: str
    heights: Heights | None
    """Of the ground, as the ``dem`` has them."""

    @property
    def annotation(self) -> Annotation:
        """All polarisations have the same geometry; that of the first one."""
        return self.product.annotation(self.polarisations[0])

    def scale(self, geobox: GeoBox) -> tuple[float, float]:
        """Return the radar pixels per target pixel along lines and samples."""
        pitch = abs(geobox.transform.e)
        lines, samples = self.annotation.spacing
        return pitch / lines, pitch / samples

    def made(self, geobox: GeoBox) -> dict[str, tuple[NDArray[np.float32], Mask, Mask]]:
        """Return by polarisation the power on a part of the target, where it may be used, and where it is dropped."""
        scale = self.scale(geobox)
        placed = self._placed(geobox)
        span = placed.positions.window(self.annotation.shape, scale)
        if span is None:
            return {}
        window = Window(span[0].start, span[0].stop, span[1].start, span[1].stop)
        inside = placed.positions.inside(span)
        found = {}
        for polarisation, (numbers, seen) in self._numbers(window).items():
            gain = self.product.gain(polarisation, self.options.convention)
            noise = None
            if self.options.noise and not self.product.annotation(polarisation).noise_removed:
                noise = self.product.noise(polarisation)
                check_estimated(noise, self.product.name)
            power = calibrate(numbers, (window.row0, window.col0), gain, noise)
            values, good = sample(power, seen, inside.line, inside.sample, scale=scale)
            dropped = np.zeros_like(good)
            if placed.factor is not None and placed.hidden is not None:
                dropped = good & placed.hidden
                good &= ~placed.hidden & np.isfinite(placed.factor)
                values /= np.where(good, placed.factor, np.float32(1))
            found[polarisation] = values, good, dropped
        return found

    def _placed(self, geobox: GeoBox) -> _Placed:
        told = self.annotation
        if not self.options.terrain:
            line, column = gcp_locate(told.geolocation, *lonlat(geobox))
            place = Positions(line, column)
            if not self.options.force:
                self._check_flat(place, geobox)
            return _Placed(place)
        heights = self._ellipsoidal()
        if self.options.convention != RTC:
            return _Placed(positions(told.orbit, told.grid, geobox, heights))
        ground = terrain(told.orbit, told.grid, geobox, heights)
        return _Placed(ground.positions, ground.factor, ground.layover | ground.shadow)

    def _ellipsoidal(self) -> Ellipsoidal:
        """Return heights above the ellipsoid."""
        where = self.product.name
        if self.heights is None:
            raise ConfigError("geocoding: terrain needs heights", where=where, hint="name their layer: `dem: NAME`")
        datum = datum_of(self.options.datum, self.heights.vertical_datum, where)
        return ellipsoidal(self.heights, datum, self.annotation.geolocation)

    def _check_flat(self, place: Positions, geobox: GeoBox) -> None:
        """Raise ConfigError if ground without relief would be assumed where there is relief."""
        ties = self.annotation.geolocation
        near = [
            slice(max(int(np.searchsorted(nodes, np.nanmin(there), "right")) - 1, 0),
                  int(np.searchsorted(nodes, np.nanmax(there))) + 1)
            for nodes, there in ((ties.lines, place.line), (ties.samples, place.sample))
            if np.isfinite(there).any()
        ]  # fmt: skip
        steep = relief(ties.height[near[0], near[1]]) if len(near) == 2 else 0.0
        if self.heights is not None:
            height, known = self.heights(geobox)
            steep = max(steep, relief(height[known]))
        if steep > MAX_RELIEF:
            raise ConfigError(
                f"geocoding: ellipsoid in {steep:.0f} m of relief would move ground by as much and more",
                where=self.product.name,
                hint="`geocoding: terrain` with `dem:` places it, `force: true` does it all the same",
            )

    def _numbers(self, window: Window) -> dict[str, tuple[NDArray[np.uint16], Mask]]:
        """Return by polarisation the digital numbers of a window and which of them are pixels, all fetched at once."""
        images = {one: self.product.image(one) for one in self.polarisations}
        if len({image.shape for image in images.values()}) > 1:
            raise CorruptError("its polarisations differ in size", where=self.product.name)
        wanted = [(image, 1, window) for image in images.values()]
        sides: dict[str, Window] = {}
        told = self.annotation
        if self.product.ipf() < CLEAN:
            number, of = told.part
            sides = strips(window, told.shape, first=number == 1, last=number >= of)
            beside = self.product.image(self.co_polarised)
            wanted += [(beside, 1, place) for place in sides.values()]
        read = read_many(wanted)
        outside = np.zeros((window.row1 - window.row0, window.col1 - window.col0), bool)
        if sides:
            edges = dict(zip(sides, zip(sides.values(), read[len(images) :], strict=True), strict=True))
            outside = border(window, edges, told.shape, self.product.noise(self.co_polarised))
        return {
            one: (numbers, (numbers > 0) & ~outside) for one, numbers in zip(images, read[: len(images)], strict=True)
        }
