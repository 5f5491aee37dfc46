"""Tiles of the archive made of real coherence, for tests."""

from functools import cache

import numpy as np
import rasterio
from scipy.ndimage import gaussian_filter

from m3leo_prep.testing.earthdata.files.gssic import stored, write_tile

DAYS = {"COH12": "20180331-20180412", "COH24": "20180106-20180130", "COH36": "20180130-20180307"}
MEXICO = "N20W100"


def real_coherence(shared_data, pair):
    """Return 1200 x 1200 px of real coherence, of Mexico City, mirrored until it fills a tile; NaN where none is."""
    folder = shared_data / "coherence" / "mexico_city_cropA"
    with rasterio.open(folder / f"cropA_{pair}_VV_8rlks_flat_eqa_cc.tif") as file:
        values = file.read(1).astype(np.float64)
    values[values == 0] = np.nan
    return np.pad(values, [(0, 1200 - size) for size in values.shape], mode="symmetric")


@cache
def _field():
    field = gaussian_filter(np.random.default_rng(1).standard_normal((1200, 1200)), 5, mode="wrap")
    return (field - field.min()) / (field.max() - field.min())


def smooth(seed, low, high):
    """Return a smooth field of 1200 x 1200 px between two values."""
    return low + (high - low) * np.roll(_field(), 171 * seed, axis=(0, 1))


def season_of_mexico(bucket, shared_data, tile=MEXICO, season="summer"):
    """Write a season's files of a tile, real coherence among them, and return the stored numbers by metric."""
    fields = {f"vv_{name}": real_coherence(shared_data, pair) for name, pair in DAYS.items()}
    fields |= {"vv_AMP": smooth(1, 0.02, 0.4), "vh_AMP": smooth(2, 0.005, 0.1)}
    fields |= {"vv_rho": smooth(3, 0.1, 0.6), "vv_tau": smooth(4, 2, 40), "vv_rmse": smooth(5, 0.01, 0.2)}
    numbers = {name: stored(name.partition("_")[2], values) for name, values in fields.items()}
    for name, pixels in numbers.items():
        pixels[640:660, 1050:1070] = 0
        write_tile(bucket, f"{tile}_{season}_{name}", pixels)
    return numbers
