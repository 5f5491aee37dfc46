"""Finding SNAP, and living without it."""

import subprocess
import sys

import pytest

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.sources.snap import installed
from m3leo_prep.testing.snap import FakeSnap


@pytest.fixture(autouse=True)
def nothing(monkeypatch, tmp_path):
    """A machine without SNAP."""
    for name in (installed.GPT, installed.SNAPPY, installed.HOME):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(installed, "FOLDERS", ("~/esa-snap",))


def test_without_snap_the_way_to_get_it_is_told():
    assert installed.look() is None
    with pytest.raises(MissingDependency) as caught:
        installed.find()
    assert "https://step.esa.int" in caught.value.hint
    assert "M3LEO_PREP_GPT" in caught.value.hint


def test_the_variables_come_before_the_path_and_the_path_before_the_folders(monkeypatch, tmp_path):
    usual = FakeSnap(tmp_path / "home", "11.0.0")
    assert installed.find().release == "11.0.0"
    path = FakeSnap(tmp_path / "other", "12.0.1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gpt").symlink_to(path.gpt)
    assert installed.find().release == "12.0.1", "a link leads to the folder with VERSION.txt"
    monkeypatch.setenv("SNAP_HOME", str(FakeSnap(tmp_path / "third", "13.0.4").home))
    assert installed.find().release == "13.0.4"
    monkeypatch.setenv("M3LEO_PREP_GPT", str(usual.gpt))
    found = installed.find()
    assert (found.release, found.program, found.major) == ("11.0.0", usual.gpt, 11)


def test_another_program_called_gpt_is_left_alone(tmp_path):
    (tmp_path / "bin").mkdir()
    other = tmp_path / "bin" / "gpt"
    other.write_text("#!/bin/sh\ntouch ran\n")
    other.chmod(0o755)
    assert installed.look() is None
    assert not (tmp_path / "ran").exists()


def test_a_gpt_that_is_named_and_tells_no_release_by_files_is_asked(monkeypatch, tmp_path):
    fake = FakeSnap(tmp_path / "real")
    wrapper = tmp_path / "gpt-in-a-container"
    wrapper.write_text(f'#!/bin/sh\nexec {fake.gpt} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("M3LEO_PREP_GPT", str(wrapper))
    assert installed.find().release == "13.0.4"
    wrapper = tmp_path / "no-snap"
    wrapper.write_text("#!/bin/sh\necho Hello\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("M3LEO_PREP_GPT", str(wrapper))
    with pytest.raises(ConfigError, match="tells no release"):
        installed.find()


def test_what_is_named_and_not_there_is_a_mistake(monkeypatch, tmp_path):
    monkeypatch.setenv("M3LEO_PREP_GPT", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="is no program"):
        installed.look()


def test_a_release_whose_operators_are_not_known_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("M3LEO_PREP_GPT", str(FakeSnap(tmp_path, "9.0.8").gpt))
    with pytest.raises(MissingDependency, match="too old"):
        installed.find()


def test_esa_snappy_is_used_where_its_python_is_named(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ntest "$2" = --release && echo SNAP Release version 12.0.0\n')
    python.chmod(0o755)
    monkeypatch.setenv("M3LEO_PREP_SNAPPY", str(python))
    found = installed.find()
    assert (found.way, found.release) == ("esa_snappy", "12.0.0")


def test_doctor_tells_what_it_found(monkeypatch, tmp_path):
    from m3leo_prep.cli.doctoring import _snap

    assert (_snap().state, "step.esa.int" in _snap().next) == ("info", True)
    monkeypatch.setenv("M3LEO_PREP_GPT", str(tmp_path / "none"))
    assert (_snap().state, "unset M3LEO_PREP_GPT" in _snap().next) == ("warn", True)
    monkeypatch.setenv("M3LEO_PREP_GPT", str(FakeSnap(tmp_path).gpt))
    assert (_snap().state, _snap().seen) == ("ok", f"SNAP 13.0.4 (gpt: {tmp_path}/esa-snap/bin/gpt)")


def test_neither_snap_nor_its_python_are_touched_by_imports_and_sources():
    """Everything else works without SNAP: products are made, described and asked for their options."""
    code = (
        "import sys\n"
        "from m3leo_prep.sources.copernicus import Copernicus\n"
        "import m3leo_prep.sources.snap.making, m3leo_prep.sources.snap.snappy\n"
        "for name in ('s1-rtc-snap', 's1-coherence-snap', 's1-h-a-alpha-snap'):\n"
        "    assert Copernicus(product=name).describe().version == '1 snap-none'\n"
        "heavy = {'esa_snappy', 'jpy', 'rasterio', 'pystac_client', 'requests', 'obstore'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "", "HOME": "/nowhere"})
