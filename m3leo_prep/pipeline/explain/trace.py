"""How one stored pixel came about: derived again by the code that builds, and watched on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.defaults import is_computed
from m3leo_prep.core.encoding import encode
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.layer import Array
from m3leo_prep.core.plan import LayerPlan, Unit
from m3leo_prep.core.raster import Item, Kind, Raster
from m3leo_prep.ops._mesh import offset_if_aligned
from m3leo_prep.ops.composite import Look
from m3leo_prep.ops.warp import QUADRATURE, Method, coordinate_operation
from m3leo_prep.ops.weights import Weights, linear_form, position, weights
from m3leo_prep.pipeline.derive import Derived, Laid, crs_name, derive
from m3leo_prep.pipeline.explain.absent import may_give
from m3leo_prep.pipeline.explain.blend import Vote, blend
from m3leo_prep.pipeline.explain.explanation import Neighbour, Origin, Scene, UsedItem, orbit_text
from m3leo_prep.pipeline.explain.numbers import number, unit_text
from m3leo_prep.pipeline.heights import heights_of
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.task import items_of
from m3leo_prep.pipeline.windows import cut

SLIVER = 1e-3
"""Share of the target pixel from which a source pixel's bits count; see ``Method.bitor``."""
EQUAL = 1e-6
"""Shares of the target pixel that differ by less are equal."""


def trace(plan: LayerPlan, cell: Cells, slot: int, x: int, y: int, variables: Sequence[str]) -> dict[str, list[Origin]]:
    """Return, by variable, where each band of a pixel comes from; nothing for those computed from another one.

    Args:
        plan: of the layer.
        cell: the chip, one cell.
        slot: its index.
        x: column.
        y: row.
        variables: those wanted.

    Raises:
        PrepError: from the source.
    """
    unit = Unit(plan.layer.name, 0, 0, 0, 1, slot, slot + 1)
    slots, ((items,),) = items_of(cell, plan, unit)
    geobox = cut(cell, np.array([0]))[0].geobox(plan.layer.pitch)
    source = open_source(plan.source)
    composited = tuple(items) if source.describe().composites else ()
    watch = _Watch(geobox, x, y, variables, composited)
    heights = heights_of(plan, cell)
    derived = derive(source, plan.layer, items, geobox, slots[0], skip_damaged=True, observe=watch.see, heights=heights)
    wanted = (array for array in plan.layer.arrays if array.variable.name in variables and not is_computed(array))
    return {array.variable.name: _origins(array, watch, derived, items) for array in wanted}


def height_at(plan: LayerPlan, cell: Cells, x: int, y: int) -> float | None:
    """Return the height of the ground in m that a layer's source is told at a pixel; None where none is known."""
    heights = heights_of(plan, cell)
    if heights is None:
        return None
    pixel = cut(cell, np.array([0]))[0].geobox(plan.layer.pitch)[y : y + 1, x : x + 1]
    value, valid = heights(pixel)
    return value.item() if valid.item() else None


@dataclass(slots=True)
class _Watch:
    """Takes down what every raster gives at one pixel, while the chip is made."""

    geobox: GeoBox
    x: int
    y: int
    variables: Sequence[str]
    composited: tuple[Item, ...]
    """What a source that composites made its rasters of."""
    seen: dict[str, list[list[tuple[Scene, Vote]]]] = field(default_factory=dict)
    """By variable and band, each scene that reaches the pixel, and its vote in the composite."""

    def see(self, laid: Laid) -> None:
        name = laid.array.variable.name
        if name not in self.variables:
            return
        bands = self.seen.setdefault(name, [[] for _ in range(laid.array.n_bands)])
        for band, scenes in enumerate(bands):
            scene = self._scene(laid, band)
            if scene is not None:
                at = (band, self.y, self.x)
                shown, value = bool(laid.shown[at]), laid.look.values[at]
                scenes.append((scene, Vote(laid.group, scene.items, scene.state, shown, value)))

    def _scene(self, laid: Laid, band: int) -> Scene | None:
        """Return what a raster gives in one band; None if it does not reach the pixel."""
        raster, look, at = laid.piece.raster, laid.look, (band, self.y, self.x)
        pixel = self.geobox[self.y : self.y + 1, self.x : self.x + 1]
        method = Method(laid.array.method)
        data = raster.data[band]
        usable = raster.valid[band] & np.isfinite(data)
        if method in QUADRATURE:
            usable &= data >= 0
        correlation = laid.array.variable.attributes["correlation"] if method in QUADRATURE else 1.0
        where = position(raster.geobox, pixel)
        kernel = weights(usable, raster.geobox, pixel, method, components=raster.components, dtype=data.dtype)
        neighbours = None if kernel is None else _neighbours(laid, band, usable, kernel)
        is_inside = where is not None and all(0 <= p < n for p, n in zip(where, data.shape[::-1], strict=True))
        if not is_inside and not any(n.missing != "outside" for n in neighbours or ()):
            return None
        is_valid = bool(look.valid[at])
        state = "valid" if is_valid else "masked" if look.observed[at] else "not observed"
        value = look.values[at].item() if is_valid else None
        item = raster.item
        name = laid.array.variable.bands[band]
        given = tuple(one for one in self.composited if may_give(one, name))
        items = given if self.composited else tuple(tile.item for tile in laid.piece.tiles)
        is_one = not self.composited
        own = raster.geobox.crs == self.geobox.crs
        return Scene(
            items=tuple(one.id for one in items),
            versions=tuple(one.version for one in items),
            acquisition=item.acquisition if is_one else "",
            time=_time(item) if is_one else None,
            orbit=orbit(item) if is_one else "",
            crs=crs_name(raster.geobox),
            operation="" if own else coordinate_operation(raster.geobox.crs, self.geobox.crs),
            pixel_size=(raster.geobox.affine.a, raster.geobox.affine.e),
            map_x=None if where is None else (raster.geobox.affine @ where)[0],
            map_y=None if where is None else (raster.geobox.affine @ where)[1],
            col=None if where is None else where[0],
            row=None if where is None else where[1],
            kernel=_kernel_name(method, raster.geobox, pixel, laid.array.variable.kernel),
            neighbours=neighbours,
            valid_share=_valid_share(neighbours),
            state=state,
            value=value,
            stored_value=_decibel(value) if laid.array.encoding.transform == "db" else None,
            adds_up=None if value is None or neighbours is None else adds_up(neighbours, method, value, correlation),
            weight=0.0,
            why="",
        )


def _neighbours(laid: Laid, band: int, usable: NDArray[np.bool_], kernel: Weights) -> tuple[Neighbour, ...]:
    raster = laid.piece.raster
    height, width = usable.shape
    found = []
    rows, cols = kernel.rows.tolist(), kernel.cols.tolist()
    for row, col, weight, whole in zip(rows, cols, kernel.used.tolist(), kernel.whole.tolist(), strict=True):
        value, missing, item = None, "outside", ""
        if 0 <= row < height and 0 <= col < width:
            is_there = bool(usable[row, col])
            value = raster.data[band, row, col].item() if is_there else None
            missing = "" if is_there else "masked" if raster.observed[band, row, col] else "no data"
            item = _tile_of(laid, band, row, col)
        found.append(Neighbour(col, row, value, weight, whole, missing, item))
    return tuple(found)


def _tile_of(laid: Laid, band: int, row: int, col: int) -> str:
    """Return the id of the tile that a pixel of a joined raster was taken from: the first that has it."""
    tiles, whole = laid.piece.tiles, laid.piece.raster
    if len(tiles) == 1:
        return tiles[0].item.id
    here = whole.geobox[row : row + 1, col : col + 1]
    for tile in tiles:
        found = offset_if_aligned(tile.geobox, here)
        if found is not None and _has(tile, band, found[0], found[1]):
            return tile.item.id
    return ""


def _has(tile: Raster, band: int, row: int, col: int) -> bool:
    height, width = tile.data.shape[1:]
    return 0 <= row < height and 0 <= col < width and bool(tile.valid[band, row, col])


def _valid_share(neighbours: Sequence[Neighbour] | None) -> float | None:
    total = math.fsum(n.whole for n in neighbours or ())
    return math.fsum(n.whole for n in neighbours or () if not n.missing) / total if total else None


def _kernel_name(method: Method, src: GeoBox, pixel: GeoBox, source_kernel: str) -> str:
    if offset_if_aligned(src, pixel) is not None:
        if source_kernel:
            return f"the source has resampled to the chip's pixels, by {source_kernel}"
        return "no kernel: the source's pixels are the chip's"
    kernel = linear_form(method, src, pixel)
    if method in {Method.complex, Method.angle}:
        return f"{method}: the direction of the {kernel} of unit vectors"
    if method is Method.mode:
        return "mode: the code that covers most; weights are shares of the area"
    if method is Method.bitor:
        return "bitor: the bits of all that cover at least 0.1 %; weights are shares of the area"
    if method in QUADRATURE:
        return f"{method}: the weights of {QUADRATURE[method]}, added in quadrature"
    if method is Method.component:
        return "component: only from the connected component of the nearest pixel"
    return str(method)


def adds_up(neighbours: Sequence[Neighbour], method: Method, value: float, correlation: float = 1.0) -> bool:
    """Return whether the weighted neighbours give the scene's value; ``correlation`` is that of a deviation."""
    there = [n for n in neighbours if n.value is not None and (n.weight or method is Method.bitor)]
    values = np.array([n.value for n in there])
    w = np.array([n.weight for n in there])
    if not there:
        return False
    if method is Method.bitor:
        big = [int(n.value or 0) for n in there if n.whole >= SLIVER]
        return bool(np.bitwise_or.reduce(big) == value)
    if method is Method.mode:
        share = {code: float(w[values == code].sum()) for code in np.unique(values).tolist()}
        winners = [code for code, s in share.items() if s >= max(share.values()) - EQUAL]
        return bool(min(winners) == value)
    if method in {Method.complex, Method.angle}:
        turn = 360.0 if method is Method.angle else 2 * math.pi
        mean = np.angle((w * np.exp(2j * np.pi * values / turn)).sum()) * turn / (2 * np.pi)
        return bool(abs((mean - value + turn / 2) % turn - turn / 2) < 1e-5 * turn)
    if method in QUADRATURE:
        alone, together = math.fsum(((w * values) ** 2).tolist()), math.fsum((w * values).tolist()) ** 2
        return bool(np.isclose(math.sqrt((1 - correlation) * alone + correlation * together), value, rtol=1e-5))
    return bool(np.isclose(math.fsum((w * values).tolist()), value, rtol=1e-5, atol=1e-6 * np.abs(w * values).max()))


def _origins(array: Array, watch: _Watch, derived: Derived, items: Sequence[Item]) -> list[Origin]:
    look = derived.looks[array.variable.name]
    encoded = None if look is None else encode(look.values, look.valid, array.encoding)
    seen = watch.seen.get(array.variable.name, [[] for _ in range(array.n_bands)])
    origins = []
    medoid = _medoid_group(look, watch, seen) if array.statistic == "medoid" else None
    for band, found in enumerate(seen):
        given = [one for one in watch.composited if may_give(one, array.variable.bands[band])]
        pairs = found if given or not watch.composited else []
        at = (band, watch.y, watch.x)
        # What the source has composited is laid as it is.
        value, shares = blend([vote for _, vote in pairs], "first" if watch.composited else array.statistic, medoid)
        if watch.composited:
            shares = [(weight, why and "the source's own composite") for weight, why in shares]
        scenes = tuple(_weighed(scene, *share) for (scene, _), share in zip(pairs, shares, strict=True))
        reached = {item for scene in scenes for item in scene.items}
        code: float | int | None = None
        missing, steps, adds_up = "never observed", "", True
        if look is not None and encoded is not None:
            made = look.values[at].item() if look.valid[at] else None
            code = encoded.codes[at].item() if encoded.valid[at] else None
            missing = _missing(observed=bool(look.observed[at]), made=made, code=code)
            steps = "" if made is None else _steps(array, band, made, code, scenes, len(given))
            adds_up = _same(value, made) and all(scene.adds_up is not False for scene in scenes)
        elsewhere = 0 if watch.composited else sum(item.id not in reached for item in items)
        told = tuple(UsedItem(one.id, _time(one), one.version, orbit(one)) for one in given)
        origins.append(Origin(code, missing, steps, scenes, elsewhere, adds_up, tuple(derived.damaged), told))
    return origins


def _medoid_group(look: Look | None, watch: _Watch, seen: Sequence[Sequence[tuple[Scene, Vote]]]) -> int | None:
    """Return the acquisition that has the composite's values in all bands that there are."""
    if look is None or not look.valid[:, watch.y, watch.x].any():
        return None
    fits: dict[int, int] = {}
    there = np.flatnonzero(look.valid[:, watch.y, watch.x]).tolist()
    for band in there:
        found = seen[band]
        made = look.values[band, watch.y, watch.x]
        groups = {vote.group for _, vote in found if vote.state == "valid" and vote.shown and vote.value == made}
        for group in groups:
            fits[group] = fits.get(group, 0) + 1
    return next((group for group in sorted(fits) if fits[group] == len(there)), None)


def _weighed(scene: Scene, weight: float, why: str) -> Scene:
    return replace(scene, weight=weight, why=why or _why_not(scene))


def _why_not(scene: Scene) -> str:
    """Return why a scene gives nothing."""
    if scene.state == "not observed":
        return "it has no data there"
    share = scene.valid_share
    if share is not None and 0 < share < 1:
        return f"masked there: only {share:.0%} of the kernel's weight is valid"
    return "masked there (cloud, shadow, layover ...)"


def _missing(*, observed: bool, made: float | None, code: float | None) -> str:
    if code is not None:
        return ""
    if made is not None:
        return "out of range"
    return "masked" if observed else "never observed"


def _same(value: Any, made: float | None) -> bool:
    if value is None or made is None:
        return value is None and made is None
    return bool(np.isclose(float(value), made, rtol=1e-6, atol=0))


def _decibel(value: float | None) -> float | None:
    return 10 * math.log10(value) if value is not None and value > 0 else None


def _time(item: Item) -> str | None:
    return item.datetime.isoformat() if item.datetime else None


def _steps(array: Array, band: int, made: float, code: float | None, scenes: Sequence[Scene], composited: int) -> str:
    """Return how the composite becomes the code, with the numbers.

    Args:
        array: of the layer.
        band: its index.
        made: the composite.
        code: what it is stored as.
        scenes: of which it was made here.
        composited: scenes of which the source made it.
    """
    encoding, variable = array.encoding, array.variable
    units = variable.attributes.get("band_units", {})
    unit = "1" if array.statistic == "count" else units.get(variable.bands[band], variable.unit)
    n = composited or sum(scene.weight > 0 for scene in scenes)
    by = " by the source" if composited else ""
    parts = [f"{array.statistic} of {n} {'scene' if n == 1 else 'scenes'}{by}: {number(made)}{unit_text(unit)}"]
    if variable.kind in {Kind.CLASSES, Kind.BITS}:
        return parts[0]
    physical = made
    if encoding.transform == "db":
        floor = made <= 1e-5
        physical = -50.0 if floor else 10 * math.log10(made)
        parts.append("10 log10 = -50 dB (floor)" if floor else f"10 log10 = {physical:.4f} dB")
    if code is None:
        low, high = (number(v) for v in (encoding.valid_min, encoding.valid_max))
        return ", ".join([*parts, f"outside {low} ... {high}{unit_text(encoding.unit)}: out of range"])
    if encoding.dtype != "float32":
        parts.append(f"/ {encoding.scale:g}, rounded = {code}")
    return ", ".join(parts)


def orbit(item: Item) -> str:
    """Return an item's orbit for people, such as ``ascending 88``; empty if it has none."""
    return orbit_text(*(item.properties.get(key) for key in ("orbit_direction", "relative_orbit", "orbit_files")))
