"""Granules on disk: opened once and kept open, read in blocks, each decoded once for all chips that it serves."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ops.cube import Cube, Plane
from m3leo_prep.sources.asf.gunw.names import parse

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

MAX_OPEN = 64
"""Granules of one process that stay open; a unit of 64 chips with 20 pairs of two frames has 40."""
MAX_BYTES = 256 << 20
"""Decoded blocks that one process keeps: a 100-MB granule's three usual variables."""
GRIDS = "science/grids"
DATA = f"{GRIDS}/data"
_ALONE = (512, 512)
"""Block of a variable that is stored without chunks."""
_EVEN_PX = 0.1
"""Coordinates may leave an even spacing by this much."""


class GunwFile:
    """One open granule. Safe in threads; values are as stored, with their fill values, if not said otherwise."""

    def __init__(self, path: Path) -> None:
        """Open a granule.

        Raises:
            CorruptError: no NetCDF file, or not laid out as GUNW versions 2 and 3 are.
        """
        import h5py

        self.name = path.stem
        self._lock = Lock()
        self._kept: dict[str, Any] = {}
        with self._reading("the file"):
            # Blocks are kept decoded below: HDF5's own copy of them would be a second one.
            self._file = h5py.File(path, "r", rdcc_nbytes=0)
            self._token = (str(path), _stamp(path), os.getpid())
        self.version = parse(self.name).version
        """Of the product, as its name says; the file itself has none."""
        for needed in ("unwrappedPhase", "coherence", "connectedComponents", "amplitude"):
            if not self.has(needed):
                raise self._corrupt(f"has no {DATA}/{needed}, which all known versions have")
        self.geobox = self._geobox()
        """Grid of the variables in ``science/grids/data``, north up."""

    def has(self, name: str) -> bool:
        """Return whether there are numbers of that name: one word below ``science/grids/data``, a path below ``grids``.

        A placeholder of the packaging template (a text) is not there.
        """
        return self._dataset(name) is not None

    def window(self, name: str, rows: slice, cols: slice) -> NDArray[Any]:
        """Return stored pixels of a 2-D variable of ``science/grids/data``: (y, x), a copy, dtype as stored.

        Raises:
            CorruptError: no such variable, one on another grid, or damaged there.
        """
        dataset = self._needed(name)
        if dataset.shape != tuple(self.geobox.shape):
            raise self._corrupt(f"{name} is {dataset.shape}, its grid {tuple(self.geobox.shape)}")
        high, wide = dataset.chunks or _ALONE
        out = np.empty((rows.stop - rows.start, cols.stop - cols.start), dataset.dtype)
        for i in range(rows.start // high, -(-rows.stop // high)):
            for j in range(cols.start // wide, -(-cols.stop // wide)):
                block = self._block(name, dataset, i, j, high, wide)
                y, x = i * high, j * wide
                top, left = max(rows.start, y), max(cols.start, x)
                bottom, right = min(rows.stop, y + block.shape[0]), min(cols.stop, x + block.shape[1])
                out[top - rows.start : bottom - rows.start, left - cols.start : right - cols.start] = block[
                    top - y : bottom - y, left - x : right - x
                ]
        return out

    def cube(self, path: str) -> Cube:
        """Return a 3-D variable below ``science/grids``, whole: float64, NaN where it has its fill value.

        Raises:
            CorruptError: no such variable, without coordinates, or damaged.
        """

        def make() -> Cube:
            values, (heights, lats, lons) = self._on_axes(path, ("h", "la", "lo"))
            return Cube(values, heights, lats, lons)

        return cast("Cube", self._once(path, make))

    def plane(self, path: str) -> Plane:
        """Return a 2-D variable below ``science/grids``, whole: float64, NaN where it has its fill value.

        Raises:
            CorruptError: no such variable, without coordinates, or damaged.
        """

        def make() -> Plane:
            values, (lats, lons) = self._on_axes(path, ("la", "lo"))
            return Plane(values, lats, lons)

        return cast("Plane", self._once(path, make))

    def _once(self, path: str, make: Callable[[], Any]) -> Any:
        if path not in self._kept:
            try:
                self._kept[path] = make()  # twice at worst, and the same
            except CorruptError as error:
                raise error if error.where else self._corrupt(f"{path}: {error.message}") from None
        return self._kept[path]

    def _dataset(self, name: str) -> Any:
        place = f"{GRIDS}/{name}" if "/" in name else f"{DATA}/{name}"
        with self._reading(place):
            found = self._file.get(place)
            return found if hasattr(found, "dtype") and found.dtype.kind in "iuf" and found.ndim >= 2 else None

    def _needed(self, name: str) -> Any:
        dataset = self._dataset(name)
        if dataset is None:
            raise self._corrupt(f"has no {name}")
        return dataset

    def _block(self, name: str, dataset: Any, i: int, j: int, high: int, wide: int) -> NDArray[Any]:
        key = (*self._token, name, i, j)
        # One thread decodes a block while the others of this granule wait for it; other granules go on.
        with self._lock:
            kept = _BLOCKS.get(key)
            if kept is None:
                with self._reading(name):
                    kept = dataset[i * high : (i + 1) * high, j * wide : (j + 1) * wide]
                _BLOCKS.put(key, kept)
        return kept

    def _on_axes(self, path: str, order: tuple[str, ...]) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        """Return values with their axes in ``order`` (by how the names of the axes begin) and their coordinates."""
        dataset = self._needed(path)
        with self._reading(path):
            stored = dataset[()]
            names = [scales[0].name.rpartition("/")[2] if len(scales) else "" for scales in dataset.dims]
            axes = {_sort(name): (n, dataset.parent.get(name)) for n, name in enumerate(names) if name}
            if len(names) != len(order) or not all(sort in axes and axes[sort][1] is not None for sort in order):
                raise self._corrupt(f"{path} has the axes {names}, without the coordinates that place it")
            coordinates = [np.asarray(axes[sort][1][()], np.float64) for sort in order]
            fill = dataset.attrs.get("_FillValue")
        values = np.moveaxis(stored, [axes[sort][0] for sort in order], range(len(order))).astype(np.float64)
        if fill is not None:
            values[values == np.ravel(fill)[0]] = np.nan
        return values, coordinates

    def _geobox(self) -> GeoBox:
        from affine import Affine
        from odc.geo.geobox import GeoBox

        shape = self._needed("unwrappedPhase").shape
        steps: list[float] = []
        firsts: list[float] = []
        for name, count, sign in (("longitude", shape[1], 1), ("latitude", shape[0], -1)):
            with self._reading(f"{DATA}/{name}"):
                found = self._file.get(f"{DATA}/{name}")
                centres = None if found is None else np.asarray(found[()], np.float64)
            if centres is None or centres.shape != (count,) or count < 2:
                raise self._corrupt(f"has no {DATA}/{name} for its {count} pixels")
            step = (centres[-1] - centres[0]) / (count - 1)
            off = np.abs(centres[0] + step * np.arange(count) - centres).max()
            if not (step * sign > 0 and off <= _EVEN_PX * abs(step)):
                raise self._corrupt(f"{DATA}/{name} does not run evenly from north-west to south-east")
            steps.append(float(step))
            firsts.append(float(centres[0]))
        (dx, dy), (x, y) = steps, firsts
        if abs(dx + dy) * max(shape) > _EVEN_PX * dx:
            raise self._corrupt(f"has pixels of {dx} x {-dy} degrees, which are not square")
        # Coordinates are centres (isce2_topsapp.packaging_utils.isce_functions.get_geocoded_coords_ISCE2).
        return GeoBox(shape, Affine(dx, 0.0, x - dx / 2, 0.0, -dx, y + dx / 2), "EPSG:4326")

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # h5py has all of them for damage
            raise self._corrupt(f"{what} cannot be read ({error})") from error

    def _corrupt(self, message: str) -> CorruptError:
        return CorruptError(
            message,
            where=self.name,
            hint="the next run downloads it again; if that does not help, the archive's own copy is damaged",
        )


def open_gunw(path: Path) -> GunwFile:
    """Return a granule, open; the same object as long as the file is the same and not too many others were opened.

    Raises:
        CorruptError: no NetCDF file, or not laid out as GUNW versions 2 and 3 are.
    """
    try:
        key = (str(path), _stamp(path), os.getpid())
    except OSError as error:
        raise CorruptError(f"cannot be opened ({error})", where=path.stem) from error
    with _LOCK:
        found = _OPEN.get(key)
        if found is None:
            found = _OPEN[key] = GunwFile(path)
        _OPEN.move_to_end(key)
        while len(_OPEN) > MAX_OPEN:
            _OPEN.popitem(last=False)  # closed when its last reader lets it go
        return found


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _sort(name: str) -> str:
    """Return which axis a name of a coordinate means: ``heightsMeta`` and ``z`` are heights."""
    lowered = name.lower()
    return "h" if lowered.startswith(("h", "z")) else lowered[:2]


class _Blocks:
    """Decoded blocks, the least recently used go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._blocks: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[Any, ...]) -> NDArray[Any] | None:
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
            return self._blocks.get(key)

    def put(self, key: tuple[Any, ...], block: NDArray[Any]) -> None:
        with self._lock:
            self._held += block.nbytes - (self._blocks[key].nbytes if key in self._blocks else 0)
            self._blocks[key] = block
            while self._held > self._limit and len(self._blocks) > 1:
                self._held -= self._blocks.popitem(last=False)[1].nbytes


_LOCK = Lock()
_OPEN: OrderedDict[tuple[Any, ...], GunwFile] = OrderedDict()
_BLOCKS = _Blocks(MAX_BYTES)
