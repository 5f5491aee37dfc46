"""Granules of real interferograms: Mexico City, 2018, as ``shared/data/coherence`` has them, on pixels of 3 arcsec."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from shapely.geometry import box

from m3leo_prep.testing.earthdata import Granule
from m3leo_prep.testing.earthdata.files.gunw import PITCH, PLAIN, Layers, write_gunw

WEST, NORTH = -99.19, 19.45
SHAPE = (96, 160)
"""Inside the real crop, 60 x 100 pixels of 5 arcsec."""
HERE = box(WEST, NORTH - SHAPE[0] * PITCH, WEST + SHAPE[1] * PITCH, NORTH)
NEAR, LONG = ("20180130", "20180106"), ("20180611", "20180307")
"""Reference and secondary dates of interferograms that are there."""
TRACK = 5
CLOCK = "004301"
WRITTEN: dict[str, bytes] = {}
"""Files by all that is in them but their pixels: writing a file anew takes ten times as long as writing its pixels."""


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


def written(path, layers, **file):
    """Write a file as ``write_gunw`` does and return its path; ``WRITTEN`` holds plain ones only."""
    import h5py

    is_plain = layers.geometry is PLAIN and not layers.corrections
    key = repr([layers.phase.shape, layers.unfiltered is None, sorted(file.items())]) if is_plain else ""
    if key not in WRITTEN:
        write_gunw(path, layers, **file)
        if is_plain:
            WRITTEN[key] = path.read_bytes()
        return path
    path.write_bytes(WRITTEN[key])
    with h5py.File(path, "r+") as found:
        data = found["science/grids/data"]
        for name, values in (
            ("unwrappedPhase", layers.phase),
            ("coherence", layers.coherence),
            ("connectedComponents", layers.components),
            ("amplitude", layers.amplitude),
            ("unfilteredCoherence", layers.unfiltered),
        ):
            if values is not None:
                data[name][...] = values
    return path


def granule(
    folder, layers, called=None, *, west=WEST, north=NORTH, frame=21_001, inputs=(), start=None, footprint=None, **file
):
    """Write a granule and return what the archive tells of it."""
    called = called or name()
    path = folder / f"{called}.nc"
    written(path, layers, west=west, north=north, **file)
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
