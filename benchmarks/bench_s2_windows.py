"""Windows of Sentinel-2 over S3: 13 bands x 4 dates around 4 x 4 chips, against odc-stac; prints JSON lines.

python benchmarks/bench_s2_windows.py [B01.jp2]

A real S3 server (SeaweedFS) behind a proxy that holds each request back for 30 ms. Files are laid out as Sentinel-2's:
lossless, tiles of 1024, 640 and 192 px at 10, 20 and 60 m, of 61 km instead of 110 so that 52 of them fit into a small
server; as JPEG 2000 without TLM (as those of 2018), with it (as today), and as COG. Both ways have 4
workers, which is what the Copernicus Data Space allows, read each band on its own grid and give the same pixels. The
pixels are of the file that is named, such as the real B01 of the sample data, else smooth noise.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import obstore
from apart import run
from obstore.store import S3Store
from reading import shown

from m3leo_prep.testing.objects import BUCKET, KEY, SECRET, ObjectServer
from m3leo_prep.testing.proxy import FaultProxy

WORKERS, LATENCY, TARGET = 4, 0.03, 3.0
EPSG, WEST, NORTH = 32631, 300_000, 4_900_020
DATES = ("2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01")
BANDS = {
    10: ("B02", "B03", "B04", "B08"),
    20: ("B05", "B06", "B07", "B8A", "B11", "B12"),
    60: ("B01", "B09", "B10"),
}
SIDE, BLOCK = {10: 6144, 20: 3072, 60: 1024}, {10: 1024, 20: 640, 60: 192}
START, CHIPS = 17_000, 4 * 4480
"""Metres from the corner to the window, and its side: at 10 m it meets 3 x 3 blocks of 1024."""
KINDS = {"jp2": {}, "jp2-tlm": {"TLM": "YES"}, "cog": {}}


def main() -> None:
    """Run every case, each in a process of its own; ``bench_s2_windows.py CASE KIND ENDPOINT`` is one."""
    if len(sys.argv) > 3:
        sys.stdout.write(json.dumps(_case(*sys.argv[1:])))
        return
    pixels = _pixels(sys.argv[1] if len(sys.argv) > 1 else "")
    rows = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="bench-s2-") as made, ObjectServer() as server:
            _fill(server, kind, Path(made), pixels)
            with FaultProxy("127.0.0.1", int(server.endpoint.rpartition(":")[2])) as proxy:
                proxy.latency = LATENCY
                peer = run(__file__, "odc", kind, f"http://127.0.0.1:{proxy.port}")
                ours = run(__file__, "ours", kind, f"http://127.0.0.1:{proxy.port}")
                assert ours["sum"] == peer["sum"], "other pixels"
            rows.append(_row(f"{kind}, odc-stac", peer))
            rows.append(_row(f"{kind}, ours", ours, peer))
    columns = ("", "s", "CPU s", "requests", "MB", "peak MiB", "times")
    shown.table("Sentinel-2 windows over S3, 30 ms", columns, rows)


def _row(name: str, case: dict[str, Any], peer: dict[str, Any] | None = None) -> list[object]:
    times = {} if peer is None else {"times": round(peer["s"] / case["s"], 1), "at_least": TARGET}
    made = shown.line(bench="s2_windows", case=name, **case, **times)
    return [name, *(made.get(key) for key in ("s", "cpu_s", "requests", "mb", "peak_mib", "times"))]


def _case(way: str, kind: str, endpoint: str) -> dict[str, Any]:
    steps = {"ours": _ours, "odc": _odc}[way](kind, endpoint)
    next(steps)
    cpu, start = time.process_time(), time.perf_counter()
    found = next(steps)
    return {
        "s": round(time.perf_counter() - start, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
        **found,
    }


def _ours(kind: str, endpoint: str) -> Iterator[dict[str, Any]]:
    import odc.geo.geobox  # noqa: F401  imports are not measured
    import rasterio  # noqa: F401

    from m3leo_prep.sources._native import Window
    from m3leo_prep.sources.remote import jp2, objects, reading, tiff  # noqa: F401
    from m3leo_prep.sources.remote.access import Access, Keys
    from m3leo_prep.sources.remote.files import usage
    from m3leo_prep.sources.remote.rasters import open_many, read_many

    access = Access("bench", endpoint, keys=Keys(KEY, SECRET), connections=WORKERS)
    yield {}
    names = [(res, name) for res, bands in BANDS.items() for date in DATES for name in _names(kind, date, bands)]
    rasters = open_many([(f"s3://{BUCKET}/{name}", access) for _, name in names])
    wanted = []
    for (res, _), raster in zip(names, rasters, strict=True):
        first, side = START // res, CHIPS // res
        wanted.append((raster, 1, Window(first, first + side, first, first + side)))
    total = sum(int(one.sum(dtype=np.int64)) for one in read_many(wanted))
    requests, count = usage(access)
    yield {"sum": total, "requests": requests, "mb": round(count / 1e6, 1)}


def _odc(kind: str, endpoint: str) -> Iterator[dict[str, Any]]:
    import odc.stac
    from affine import Affine
    from odc.geo.geobox import GeoBox

    host = endpoint.partition("://")[2]
    os.environ |= {
        "AWS_S3_ENDPOINT": host,
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".jp2,.tif",
    }
    odc.stac.configure_rio(cloud_defaults=True)
    items = [_item(kind, date) for date in DATES]
    yield {}
    total = 0
    for res, bands in BANDS.items():
        first, side = START // res, CHIPS // res
        place = Affine(res, 0, WEST + first * res, 0, -res, NORTH - first * res)
        found = odc.stac.load(
            items, bands, geobox=GeoBox((side, side), place, EPSG), pool=WORKERS, dtype="uint16", fail_on_error=True
        )
        total += sum(int(found[band].to_numpy().sum(dtype=np.int64)) for band in bands)
    yield {"sum": total}


def _item(kind: str, date: str) -> Any:
    import pystac

    item = pystac.Item(f"S2-{date}", _geometry(), list(_bounds()), datetime.fromisoformat(f"{date}T10:00+00:00"), {})
    item.stac_extensions = ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"]
    for res, bands in BANDS.items():
        for band, name in zip(bands, _names(kind, date, bands), strict=True):
            extra = {
                "proj:code": f"EPSG:{EPSG}",
                "proj:shape": [SIDE[res]] * 2,
                "proj:transform": [res, 0, WEST, 0, -res, NORTH],
                "raster:bands": [{"data_type": "uint16"}],
            }
            item.add_asset(
                band, pystac.Asset(f"s3://{BUCKET}/{name}", media_type="image/jp2", roles=["data"], extra_fields=extra)
            )
    return item


def _bounds() -> tuple[float, float, float, float]:
    from pyproj import Transformer

    to_lonlat = Transformer.from_crs(EPSG, 4326, always_xy=True)
    bounds: tuple[float, float, float, float] = to_lonlat.transform_bounds(
        WEST, NORTH - SIDE[10] * 10, WEST + SIDE[10] * 10, NORTH
    )
    return bounds


def _geometry() -> dict[str, Any]:
    from shapely.geometry import box, mapping

    return dict(mapping(box(*_bounds())))


def _names(kind: str, date: str, bands: tuple[str, ...]) -> list[str]:
    return [f"{kind}/{date}/{band}.{'tif' if kind == 'cog' else 'jp2'}" for band in bands]


def _fill(server: ObjectServer, kind: str, folder: Path, pixels: np.ndarray) -> None:
    store = S3Store(
        BUCKET,
        endpoint=server.endpoint,
        region="us-east-1",
        access_key_id=KEY,
        secret_access_key=SECRET,
        client_options={"allow_http": True},
    )
    for res, bands in BANDS.items():
        path = folder / f"{res}.{'tif' if kind == 'cog' else 'jp2'}"
        write(path, pixels, SIDE[res], BLOCK[res], res, kind)
        data = path.read_bytes()
        for date in DATES:
            for name in _names(kind, date, bands):
                obstore.put(store, name, data)


def write(path: Path, pixels: np.ndarray, side: int, block: int, res: int, kind: str) -> None:
    """Write an image of ``side`` pixels, laid out as Sentinel-2's files are."""
    import rasterio
    from rasterio.transform import from_origin

    times = -(-side // pixels.shape[0])
    data = np.vstack([np.hstack([np.rot90(pixels, 3 * i + j) for j in range(times)]) for i in range(times)])
    profile: dict[str, Any] = {"width": side, "height": side, "count": 1, "dtype": "uint16", "crs": EPSG}
    if kind == "cog":
        # As Earth Search's: deflate with the horizontal predictor.
        profile |= {"driver": "COG", "blocksize": 1024, "compress": "deflate", "predictor": 2, "overviews": "none"}
    else:
        profile |= {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES", "PLT": "YES", **KINDS[kind]}
        # Of the real files: https://github.com/uclouvain/openjpeg/pull/1246 at 10 m, the sample's header at 60 m.
        edge = 64 if res == 60 else 256
        profile |= {"blockxsize": block, "blockysize": block}
        profile |= {"RESOLUTIONS": 5, "PRECINCTS": ",".join([f"{{{edge},{edge}}}"] * 5)}
    with rasterio.open(path, "w", transform=from_origin(WEST, NORTH, res, res), **profile) as file:
        file.write(data[:side, :side], 1)


def _pixels(path: str) -> np.ndarray:
    """Return a square of pixels."""
    if path:
        import rasterio

        with rasterio.open(path) as file:
            return np.asarray(file.read(1))
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(8).normal(size=(1830, 1830)), 2)
    return np.round(1500 + 4000 * noise).clip(1, 16_000).astype(np.uint16)


if __name__ == "__main__":
    main()
