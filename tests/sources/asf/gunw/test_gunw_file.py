"""Open granules: pixels of any window bit for bit, blocks decoded once, and every kind of damage told as such."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import h5py
import numpy as np
import pytest

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources.asf.gunw import file as file_module
from m3leo_prep.sources.asf.gunw.file import GunwFile, open_gunw
from m3leo_prep.testing.earthdata.files.gunw import IONOSPHERE, PITCH, TIDE, Layers, chosen_chunks, write_gunw
from tests.sources.asf.gunw.pairs import NORTH, WEST, name

SHAPE = (70, 90)


def layers(**more):
    """Return pixels that say where they are."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    count = (1 + rows * 1000 + cols).astype(np.float32)
    return replace(Layers(count, count / 1e6, np.ones(SHAPE, np.float32), count * 2), **more)


PLAIN = {}
"""What was written, by its chunks: writing takes longer than all else here."""


def write(folder, made=None, *, called=None, chunks=None):
    path = folder / f"{called or name()}.nc"
    if made is not None or chunks not in PLAIN:
        write_gunw(path, made or layers(), west=WEST, north=NORTH, chunks=chunks)
        if made is None:
            PLAIN[chunks] = path.read_bytes()
    else:
        path.write_bytes(PLAIN[chunks])
    return path


@pytest.mark.parametrize("chunks", [None, (16, 32), (70, 90), (1, 90)])
def test_any_window_has_the_pixels_of_the_whole(tmp_path, chunks):
    file = open_gunw(write(tmp_path, chunks=chunks))
    whole = layers().phase
    for rows, cols in ((slice(0, 70), slice(0, 90)), (slice(15, 17), slice(31, 33)), (slice(69, 70), slice(3, 90))):
        assert np.array_equal(file.window("unwrappedPhase", rows, cols), whole[rows, cols])
    file.window("unwrappedPhase", slice(0, 5), slice(0, 5))[:] = -1  # a copy
    assert np.array_equal(file.window("unwrappedPhase", slice(0, 5), slice(0, 5)), whole[:5, :5])


def test_a_variable_without_chunks_is_read_too(tmp_path):
    path = write(tmp_path)
    with h5py.File(path, "a") as file:
        data = file["science/grids/data"]
        del data["amplitude"]
        data["amplitude"] = layers().amplitude
    assert np.array_equal(open_gunw(path).window("amplitude", slice(3, 60), slice(0, 90)), layers().amplitude[3:60])


def test_coordinates_are_pixel_centres(tmp_path):
    box = open_gunw(write(tmp_path)).geobox
    assert box.transform.c == pytest.approx(WEST, abs=1e-9)
    assert box.transform.f == pytest.approx(NORTH, abs=1e-9)
    assert box.transform.a == pytest.approx(PITCH, rel=1e-9)
    with h5py.File(tmp_path / f"{name()}.nc") as file:
        assert file["science/grids/data/longitude"][0] == pytest.approx(WEST + PITCH / 2, abs=1e-12)


def test_what_is_there_is_told(tmp_path):
    file = open_gunw(write(tmp_path, layers(unfiltered=layers().coherence)))
    old = open_gunw(write(tmp_path, called=name(version="v2_0_6")))
    assert (file.version, old.version) == ((3, 0, 1), (2, 0, 6))
    assert file.has("unfilteredCoherence")
    assert not old.has("unfilteredCoherence")
    assert file.has("imagingGeometry/incidenceAngle")
    assert not file.has("corrections/external/tides/solidEarthTide")  # a text that holds its place
    assert not file.has("corrections/nothing/of/it")


def test_cubes_and_planes_come_with_their_coordinates(tmp_path):
    tide = TIDE.format("reference")
    made = layers(
        corrections={tide: lambda h, lat, lon: h + lat * 10 + lon, IONOSPHERE: lambda h, lat, lon: lat - lon + h}
    )
    file = open_gunw(write(tmp_path, made))
    cube = file.cube(f"corrections/{tide}")
    expected = cube.heights[:, None, None] + cube.lats[:, None] * 10 + cube.lons
    assert np.allclose(cube.values, np.where(expected == 0, np.nan, expected), rtol=1e-6, equal_nan=True)
    plane = file.plane(f"corrections/{IONOSPHERE}")
    assert np.allclose(plane.values, plane.lats[:, None] - plane.lons, rtol=1e-6)
    assert file.cube(f"corrections/{tide}") is cube


def test_axes_in_any_order_and_fill_values_are_understood(tmp_path):
    path = write(tmp_path)
    with h5py.File(path, "a") as file:
        group = file["science/grids/imagingGeometry"]
        values = group["incidenceAngle"][()]
        values[0, 0, 0] = 0
        turned = group.create_dataset("turned", data=values.transpose(2, 0, 1))
        turned.attrs["_FillValue"] = np.float32([0])
        for place, axis in enumerate(("longitudeMeta", "heightsMeta", "latitudeMeta")):
            turned.dims[place].attach_scale(group[axis])
    cube = open_gunw(path).cube("imagingGeometry/turned")
    values[0, 0, 0] = np.nan
    assert np.array_equal(cube.values, values.astype(float), equal_nan=True)


def test_a_file_is_opened_once_and_again_when_it_changed(tmp_path):
    path = write(tmp_path)
    first = open_gunw(path)
    assert open_gunw(path) is first
    (tmp_path / "new").mkdir()
    write(tmp_path / "new", layers(phase=layers().phase + 5)).replace(path)
    again = open_gunw(path)
    assert again is not first
    assert again.window("unwrappedPhase", slice(0, 1), slice(0, 1))[0, 0] == 6


def test_few_files_stay_open_and_whoever_has_one_can_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(file_module, "MAX_OPEN", 2)
    first = open_gunw(write(tmp_path))
    for digest in ("0001", "0002", "0003"):
        open_gunw(write(tmp_path, called=name(digest=digest)))
    assert len(file_module._OPEN) == 2
    assert first.window("amplitude", slice(0, 1), slice(0, 1))[0, 0] == 2


def test_blocks_are_kept_up_to_a_limit(tmp_path, monkeypatch):
    kept = file_module._Blocks(5 * 16 * 32 * 4)
    monkeypatch.setattr(file_module, "_BLOCKS", kept)
    file = open_gunw(write(tmp_path, chunks=(16, 32)))
    whole = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    for variable in ("unwrappedPhase", "amplitude", "coherence"):
        file.window(variable, *whole)
        assert kept._held == sum(block.nbytes for block in kept._blocks.values()) <= 5 * 16 * 32 * 4
    assert np.array_equal(file.window("unwrappedPhase", *whole), layers().phase)


def test_a_block_is_decoded_once_for_all_threads(tmp_path):
    file = open_gunw(write(tmp_path, chunks=(70, 90)))
    decoded = []

    class Counting:
        shape, chunks, dtype = SHAPE, (70, 90), np.dtype("f4")

        def __getitem__(self, window):
            decoded.append(window)
            return layers().phase[window]

    barrier = threading.Barrier(8)

    def ask(_):
        barrier.wait()
        return file._block("once", Counting(), 0, 0, 70, 90)

    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(ask, range(8)))
    assert len(decoded) == 1
    assert all(block is blocks[0] for block in blocks)


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _page(path):
    path.write_text("<html>please log in</html>")


def _without(*names):
    def change(path):
        with h5py.File(path, "a") as file:
            for one in names:
                del file[one]

    return change


def _uneven(path):
    with h5py.File(path, "a") as file:
        file["science/grids/data/longitude"][40:] += PITCH


def _upside_down(path):
    with h5py.File(path, "a") as file:
        lats = file["science/grids/data/latitude"]
        lats[:] = lats[:][::-1]


def _wide_pixels(path):
    with h5py.File(path, "a") as file:
        file["science/grids/data/longitude"][:] = WEST + 2 * PITCH * np.arange(SHAPE[1])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_cut, "cannot be read"),
        (_page, "cannot be read"),
        (_without("science"), "unwrappedPhase"),
        (_without("science/grids/data"), "unwrappedPhase"),
        (_without("science/grids/data/connectedComponents"), "connectedComponents"),
        (_without("science/grids/data/latitude"), "latitude"),
        (_uneven, "evenly"),
        (_upside_down, "evenly"),
        (_wide_pixels, "square"),
    ],
)
def test_damage_is_told_with_the_file_and_the_layer(tmp_path, damage, told):
    path = write(tmp_path)
    damage(path)
    with pytest.raises(CorruptError, match=told) as caught:
        open_gunw(path)
    assert caught.value.where == name()


def test_a_damaged_block_is_told_when_it_is_read(tmp_path):
    path = write(tmp_path, chunks=(16, 32))
    with h5py.File(path) as file:
        chunk = file["science/grids/data/coherence"].id.get_chunk_info(3)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    file = open_gunw(path)
    file.window("unwrappedPhase", slice(0, 70), slice(0, 90))
    with pytest.raises(CorruptError, match="coherence cannot be read"):
        file.window("coherence", slice(0, 70), slice(0, 90))


def test_a_missing_cube_and_one_without_coordinates_are_told(tmp_path):
    path = write(tmp_path)
    with h5py.File(path, "a") as file:
        file["science/grids/imagingGeometry/bare"] = np.ones((4, 3, 3))
    file = open_gunw(path)
    with pytest.raises(CorruptError, match="has no imagingGeometry/none"):
        file.cube("imagingGeometry/none")
    with pytest.raises(CorruptError, match="without the coordinates"):
        file.cube("imagingGeometry/bare")


def test_a_later_version_is_read_by_its_layout(tmp_path):
    assert open_gunw(write(tmp_path, called=name(version="v4_0_0"))).version == (4, 0, 0)


def test_a_file_with_another_name_is_no_granule(tmp_path):
    with pytest.raises(CorruptError, match="no name of a GUNW granule"):
        GunwFile(write(tmp_path, called="something"))


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((2600, 3600), (1300, 1800)),
        ((1500, 3000), (750, 1500)),
        ((3100, 3500), (1550, 1750)),
        ((1000, 1100), (1000, 1100)),
        ((70, 90), (70, 90)),
    ],
)
def test_chunks_are_those_of_the_packaging(shape, chunks):
    assert chosen_chunks(shape) == chunks  # netCDF4 1.7.5 with netCDF-C 4.10, a float32 variable with zlib
