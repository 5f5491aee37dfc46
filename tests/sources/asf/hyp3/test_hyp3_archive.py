"""Archives of products are not trusted: D82, and what a full disk or a cut file does."""

from __future__ import annotations

import stat
import zipfile

import numpy as np
import pytest

from m3leo_prep.core.errors import CorruptError, StoreError
from m3leo_prep.sources.asf.hyp3 import archive
from m3leo_prep.sources.asf.hyp3.archive import unpack
from m3leo_prep.sources.asf.hyp3.fetching import SUFFIXES
from tests.sources.asf.hyp3.held import rtc_of

NAME = "S1A_IW_GRDH_1SDV_20200603T171620_20200603T171645_032855_03CE5F_00AA"


def packed(path, members, how=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", how) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def test_the_rasters_get_names_of_our_own(tmp_path):
    unpack(rtc_of(tmp_path, NAME), tmp_path / "out", SUFFIXES)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "VH.tif", "VV.tif", "inc_map.tif", "ls_map.tif",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.glob("*.part")] == []


@pytest.mark.parametrize("name", ["../P_VV.tif", "P/../../P_VV.tif", "/etc/P_VV.tif", "C:\\P_VV.tif", "..\\P_VV.tif"])
def test_names_that_lead_out_of_the_archive(tmp_path, name):
    bad = packed(tmp_path / "bad.zip", {name: b"x", "P/P_VV.tif": b"x"})
    with pytest.raises(CorruptError, match="leads out of it"):
        unpack(bad, tmp_path / "inner" / "out", SUFFIXES)
    assert not (tmp_path / "inner" / "out").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.zip", "inner"}


def test_links_are_no_rasters(tmp_path):
    link = zipfile.ZipInfo("P/P_VV.tif")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as made:
        made.writestr(link, "/etc/passwd")
    with pytest.raises(CorruptError, match="a link in place"):
        unpack(tmp_path / "bad.zip", tmp_path / "out", SUFFIXES)


def test_names_of_nothing_are_passed_over(tmp_path):
    unpack(packed(tmp_path / "odd.zip", {"./": b"", "P/P_VV.tif": b"x"}), tmp_path / "out", SUFFIXES)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["VV.tif"]


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "SMALL", 1000)
    bomb = packed(tmp_path / "bomb.zip", {"P/P_VV.tif": bytes(10**6)})
    with pytest.raises(CorruptError, match="no product does"):
        unpack(bomb, tmp_path / "out", SUFFIXES)
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    noise = np.random.default_rng(0).bytes(2000)
    with pytest.raises(CorruptError, match="no product does"):
        unpack(packed(tmp_path / "big.zip", {"P/P_VV.tif": noise}), tmp_path / "out", SUFFIXES)


def test_a_size_that_is_lied_about_writes_no_more_than_told(tmp_path):
    """The bomb's other form: the directory tells a small size, the stream goes on."""
    bomb = packed(tmp_path / "bomb.zip", {"P/P_VV.tif": bytes(10**6)})
    content = bytearray(bomb.read_bytes())
    true, small = (10**6).to_bytes(4, "little"), (100).to_bytes(4, "little")
    bomb.write_bytes(content.replace(true, small))
    with pytest.raises(CorruptError):
        unpack(bomb, tmp_path / "out", SUFFIXES)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_cut_archive(tmp_path, share):
    whole = rtc_of(tmp_path, NAME)
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(CorruptError, match="no readable archive"):
        unpack(whole, tmp_path / "out", SUFFIXES)
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit(tmp_path):
    content = np.random.default_rng(1).bytes(5000)
    path = packed(tmp_path / "flip.zip", {"P/P_VV.tif": content}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[2500] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptError):
        unpack(path, tmp_path / "out", SUFFIXES)


def test_nothing_of_use_inside(tmp_path):
    with pytest.raises(CorruptError, match="no raster"):
        unpack(packed(tmp_path / "other.zip", {"P/readme.txt": b"x"}), tmp_path / "out", SUFFIXES)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="M3LEO_PREP_ORDERS"):
        unpack(rtc_of(tmp_path, NAME), tmp_path / "file" / "out", SUFFIXES)
