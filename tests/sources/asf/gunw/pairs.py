"""Granules of real interferograms: Mexico City, 2018, as ``shared/data/coherence`` has them, on pixels of 3 arcsec."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import numpy as np
from shapely.geometry import box

from m3leo_prep.testing.earthdata import Granule
from m3leo_prep.testing.earthdata.files.gunw import PITCH, Layers, write_gunw

WEST, NORTH = -99.19, 19.45
SHAPE = (96, 160)
"""Inside the real crop, 60 x 100 pixels of 5 arcsec."""
HERE = box(WEST, NORTH - SHAPE[0] * PITCH, WEST + SHAPE[1] * PITCH, NORTH)
NEAR, LONG = ("20180130", "20180106"), ("20180611", "20180307")
"""Reference and secondary dates of interferograms that are there."""
TRACK = 5
CLOCK = "004301"
WRITTEN: dict[bytes, bytes] = {}
"""Files by what is in them, without their names: writing takes longer than reading."""


def real(shared_data, dates=NEAR):
    """Return the layers of an interferogram: real phase (later minus earlier) and coherence, nearest pixels."""
    import rasterio
    from scipy.ndimage import label

    stem = shared_data / "coherence/mexico_city_cropA" / f"cropA_{dates[1]}-{dates[0]}_VV_8rlks"
    with rasterio.open(f"{stem}_eqa_unw.tif") as file:
        phase, to = file.read(1), file.transform
    with rasterio.open(f"{stem}_flat_eqa_cc.tif") as file:
        coherence = file.read(1)
    rows = np.floor((NORTH - PITCH * (np.arange(SHAPE[0]) + 0.5) - to.f) / to.e).astype(int)
    cols = np.floor((WEST + PITCH * (np.arange(SHAPE[1]) + 0.5) - to.c) / to.a).astype(int)
    phase, coherence = phase[np.ix_(rows, cols)], coherence[np.ix_(rows, cols)]
    seen = coherence > 0
    phase = np.where(seen, phase, 0)
    components = np.where(seen, label(seen & (phase != 0) & (coherence > 0.2))[0] > 0, -1).astype(np.float32)
    amplitude = np.where(seen, 1e5 * (0.2 + coherence), 0)
    return Layers(phase, coherence, components, amplitude, np.where(seen, 0.8 * coherence, np.nan))


def name(dates=NEAR, *, version="v3_0_1", track=TRACK, direction="D", clock=CLOCK, digest="6267"):
    """Return a granule's name."""
    return f"S1-GUNW-{direction}-R-{track:03}-tops-{dates[0]}_{dates[1]}-{clock}-00099W_00019N-PP-{digest}-{version}"


def granule(
    folder, layers, called=None, *, west=WEST, north=NORTH, frame=21_001, inputs=(), start=None, footprint=None, **file
):
    """Write a granule and return what the archive tells of it."""
    called = called or name()
    path = folder / f"{called}.nc"
    arrays = [getattr(layers, each) for each in ("phase", "coherence", "components", "amplitude", "unfiltered")]
    told = repr([west, north, file, *(None if one is None else (one.shape, one.dtype) for one in arrays)])
    key = hashlib.sha256(told.encode() + b"".join(b"" if one is None else one.tobytes() for one in arrays)).digest()
    if layers.corrections or key not in WRITTEN:
        write_gunw(path, layers, west=west, north=north, **file)
        if not layers.corrections:
            WRITTEN[key] = path.read_bytes()
    else:
        path.write_bytes(WRITTEN[key])
    reference = called.split("-tops-")[1].split("_")[0]
    began = start or datetime.strptime(f"{reference}{CLOCK}", "%Y%m%d%H%M%S").replace(tzinfo=UTC) - timedelta(
        seconds=20
    )
    rows, cols = layers.phase.shape
    version = called.rsplit("-v", 1)[1].replace("_", ".")
    about = {
        "PATH_NUMBER": str(int(called.split("-R-")[1][:3])),
        "ASCENDING_DESCENDING": "ascending" if "-A-R-" in called else "descending",
        "PERPENDICULAR_BASELINE": "-47.25",
        "VERSION": version,
        **({"FRAME_NUMBER": str(frame)} if frame is not None else {}),
    }
    return Granule(
        called,
        "gunw",
        footprint or box(west, north - rows * PITCH, west + cols * PITCH, north),
        began,
        began + timedelta(seconds=40),
        about,
        {path.name: path},
        inputs=inputs,
    )


def without(layers, **changed):
    """Return other layers: those named are replaced."""
    fields = {key: getattr(layers, key) for key in ("phase", "coherence", "components", "amplitude", "unfiltered")}
    return Layers(**(fields | changed), geometry=layers.geometry, corrections=layers.corrections)
