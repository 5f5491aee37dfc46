"""Warping speed per CPU-second beside rasterio's, and position error; prints one JSON line per case.

python benchmarks/bench_warp.py [pixels along one side, 3584 by default]
"""

import json
import sys
import time

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from m3leo_prep.ops.warp import Method, warp

CORNER = (680_000.0, 5_600_000.0)
UTM32, UTM33, LONLAT = "EPSG:32632", "EPSG:32633", "EPSG:4326"


def points(affine: Affine, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * cols + affine.b * rows + affine.c, affine.d * cols + affine.e * rows + affine.f


def target(size: int, pitch: float = 10.0) -> GeoBox:
    return GeoBox((size, size), Affine(pitch, 0, CORNER[0], 0, -pitch, CORNER[1]), UTM32)


def around(dst: GeoBox, crs: str, pitch: float) -> GeoBox:
    """Return the source grid in ``crs`` that covers ``dst`` with a margin."""
    cols, rows = np.meshgrid(np.linspace(0, dst.shape[1], 50), np.linspace(0, dst.shape[0], 50))
    x, y = Transformer.from_crs(dst.crs, crs, always_xy=True).transform(*points(dst.affine, cols, rows))
    left, top = np.floor(x.min() / pitch) - 20, np.ceil(y.max() / pitch) + 20
    width, height = (int(np.ceil(np.ptp(a) / pitch)) + 40 for a in (x, y))
    return GeoBox((height, width), Affine(pitch, 0, left * pitch, 0, -pitch, top * pitch), crs)


def landcover(src: GeoBox, rng: np.random.Generator) -> np.ndarray:
    """Return patches of eight pixels with salt and pepper."""
    patches = rng.integers(1, 12, (src.shape[0] // 8 + 1, src.shape[1] // 8 + 1), np.uint8)
    codes = patches.repeat(8, 0).repeat(8, 1)[: src.shape[0], : src.shape[1]]
    return np.where(rng.random(codes.shape) < 0.02, np.uint8(7), codes)[None]


def cpu(call, repeats: int = 3) -> float:
    """Return the least CPU seconds of a few calls."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def position_error(src: GeoBox, dst: GeoBox) -> float:
    """Return the largest error of a warped column and row ramp, in source pixels, over a part of ``dst``."""
    part = dst[:448, :448]
    rows, cols = np.mgrid[: src.shape[0], : src.shape[1]] + 0.5
    ramps = np.stack([cols, rows])
    got, valid = warp(ramps, np.ones(ramps.shape, bool), src, part, Method.bilinear)
    cols, rows = np.meshgrid(np.arange(448) + 0.5, np.arange(448) + 0.5)
    x, y = Transformer.from_crs(dst.crs, src.crs, always_xy=True).transform(*points(part.affine, cols, rows))
    exact = np.stack(points(~src.affine, x, y))
    if not valid.all():
        raise SystemExit("the source does not cover the target")
    return float(np.abs(got - exact).max())


def case(name: str, src: GeoBox, dst: GeoBox, method: Method, resampling: Resampling, *, unit: bool) -> dict:
    """Return speeds of one case; ``unit`` also times rasterio with XSCALE = YSCALE = 1."""
    rng = np.random.default_rng(0)
    classes = method is Method.mode
    data = landcover(src, rng) if classes else rng.gamma(4, size=(1, *src.shape)).astype(np.float32)
    valid = rng.random(data.shape) > 0.001
    missing = 0 if classes else np.nan
    holed = np.where(valid, data, data.dtype.type(missing))
    out = np.empty((1, *dst.shape), data.dtype)

    def gdal(**options: float) -> None:
        reproject(
            holed,
            out,
            src_transform=src.affine,
            src_crs=str(src.crs),
            dst_transform=dst.affine,
            dst_crs=str(dst.crs),
            resampling=resampling,
            src_nodata=missing,
            dst_nodata=missing,
            num_threads=1,
            **options,
        )

    warp(data, valid, src, dst[:8, :8], method)
    ours, theirs = cpu(lambda: warp(data, valid, src, dst, method)), cpu(gdal, 2)
    megapixels = dst.shape[0] * dst.shape[1] / 1e6
    result = {"name": name, "ratio": theirs / ours, "mpx_per_cpu_s": megapixels / ours}
    if unit:
        result["ratio_unit_scale"] = cpu(lambda: gdal(XSCALE=1, YSCALE=1), 1) / ours
        result["position_error_px"] = position_error(src, dst)
    return {k: v if isinstance(v, str) else float(f"{v:.3g}") for k, v in result.items()}


def run(size: int = 3584) -> dict:
    """Return all cases by name."""
    fine, half, coarse = target(size), target(size // 2, 20.0), target(size // 8, 80.0)
    utm, lonlat = around(fine, UTM33, 10.0), around(fine, LONLAT, 0.3 / 3600)
    cases = [
        case("bilinear utm", utm, fine, Method.bilinear, Resampling.bilinear, unit=True),
        case("bilinear lonlat", lonlat, fine, Method.bilinear, Resampling.bilinear, unit=True),
        case("nearest utm", utm, fine, Method.nearest, Resampling.nearest, unit=False),
        case("cubic utm", utm, fine, Method.cubic, Resampling.cubic, unit=False),
        case("bspline utm", utm, fine, Method.bspline, Resampling.cubic_spline, unit=False),
    ]
    for method, resampling in ((Method.average, Resampling.average), (Method.mode, Resampling.mode)):
        cases += [
            case(f"{method} utm 10 to 10 m", utm, fine, method, resampling, unit=False),
            case(f"{method} utm 10 to 20 m", utm, half, method, resampling, unit=False),
            case(f"{method} lonlat 0.3 arcsec to 20 m", lonlat, half, method, resampling, unit=False),
            case(f"{method} utm 10 to 80 m", utm, coarse, method, resampling, unit=False),
            case(f"{method} lonlat 0.3 arcsec to 80 m", lonlat, coarse, method, resampling, unit=False),
        ]
    return {entry["name"]: entry for entry in cases} | {"rasterio": {"name": rasterio.__version__}}


if __name__ == "__main__":
    for entry in run(*map(int, sys.argv[1:])).values():
        print(json.dumps(entry))
