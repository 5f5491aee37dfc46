"""``publish`` and ``pull``: what a person sees, in a terminal of 80 columns, in a log, and as JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import shapely

from m3leo_prep.cli.main import main
from m3leo_prep.cli.render import ERR, OUT
from m3leo_prep.core.area import Area
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.publish.targets import patience
from m3leo_prep.runners.threads import Threads
from m3leo_prep.testing.hub import HubStandIn, broken
from m3leo_prep.testing.web import RangeServer

RECIPE = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  landcover: {role: label, source: synthetic, product: landcover}
splits: {policy: random}
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "mini"
    area = Area.from_geometry(shapely.box(9.3, 57.1, 9.312, 57.104), name="here")
    build(make_plan(parse_recipe(RECIPE), area, base=path.parent), path, runner=Threads(2))
    shutil.rmtree(path / ".m3leo")
    return path


@pytest.fixture
def run(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, hub: HubStandIn
) -> Run:
    """Return a function that runs the command in this process, in a folder that holds the dataset ``mini``."""
    del hub
    monkeypatch.setattr(OUT, "width", 80)
    monkeypatch.setattr(ERR, "width", 80)
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.001)
    shutil.copytree(built, tmp_path / "mini")
    monkeypatch.chdir(tmp_path)

    def command(*args: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["m3leo-prep", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        return Done(int(caught.value.code or 0), told.out, told.err)

    return command


def test_up_to_the_hub_and_down_again(run: Run, hub: HubStandIn) -> None:
    planned = run("publish", "mini", "me/mini", "--dry-run")
    assert planned.code == 0
    assert planned.out.startswith("would send ")
    assert "to hf://datasets/me/mini" in planned.out
    assert not hub.repos
    hub.faults(broken(503), "commit")
    done = run("publish", "mini", "me/mini", "--private", "--license", "cc-by-4.0")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "published hf://datasets/me/mini"
    assert "licence cc-by-4.0" in done.out
    assert f"page: {hub.endpoint}/datasets/me/mini" in done.out
    assert f"commit: {hub.repos['me/mini'].branches['main']}" in done.out
    assert 'mp.ChipDataset("hf://datasets/me/mini", layers=["position", "landcover"])' in done.out
    assert "503" in done.err
    assert "trying again in" in done.err
    assert hub.repos["me/mini"].private
    again = run("publish", "mini", "me/mini", "--json")
    told = json.loads(again.out)
    assert (told["sent"], told["licence"], told["revision"]) == (0, "cc-by-4.0", hub.repos["me/mini"].branches["main"])

    got = run("pull", "me/mini", "--split", "test", "--layers", "landcover")
    assert (got.code, got.out) == (5, ""), "a folder of that name is here"
    got = run("pull", "me/mini", "part", "--split", "test", "--layers", "landcover")
    assert got.code == 0, got.err
    assert got.out.startswith("pulled hf://datasets/me/mini")
    assert " of landcover; pull again for more" in got.out
    assert 'mp.ChipDataset("part", layers=["landcover"], split="test")' in got.out
    checked = run("verify", "part")
    assert checked.code == 0
    assert "were not pulled from hf://datasets/me/mini" in checked.out
    assert run("split", "mini", "--policy", "random", "--name", "again").code == 0
    got = run("pull", "./mini", "again", "--split", "test", "--policy", "again", "--layers", "landcover")
    assert 'layers=["landcover"], split="test", split_column="split_again")' in got.out, got.err
    whole = json.loads(run("pull", "hf://datasets/me/mini", "part", "--json").out)
    assert whole["shards"] == whole["all_shards"]
    assert whole["layers"] == ["position", "landcover"]
    for line in (planned.err + done.err + got.err).splitlines():
        assert hub.token not in line


def test_the_name_of_the_folder_is_that_of_the_dataset(run: Run, built: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "mini")
    done = run("pull", str(built))
    assert done.code == 0, done.err
    assert (tmp_path / "mini" / "manifest.json").is_file()
    assert " files, " in done.err


def test_exit_codes_and_ways_out(run: Run, hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong: list[tuple[list[str], int, str]] = [
        (["publish", "nowhere", "me/mini"], 5, "build --out"),
        (["publish", "mini", "mini2"], 2, "OWNER/NAME for the Hugging Face Hub"),
        (["publish", "mini", "./x", "--private"], 2, "is for repositories of the Hub"),
        (["publish", "mini", "./mini"], 2, "its own folder"),
        (["publish", "mini", "me/mini", "--license", "nonsense"], 2, "nonsense"),
        (["pull", "me/never", "x"], 5, "me/never"),
        (["pull", "./mini", "x", "--split", "tset"], 2, "did you mean 'test'"),
        (["pull", "./mini", "x", "--policy", "again"], 2, "with --split"),
        (["pull", "./mini", "x", "--policy", "again", "--split", "test"], 2, "no split column 'split_again'"),
        (["pull", "./mini", "x", "--layers", "landcovr"], 2, "did you mean 'landcover'"),
    ]
    for args, code, words in wrong:
        done = run(*args)
        assert done.code == code, (args, done)
        assert words in done.err, (args, done.err)
        assert done.out == ""
    monkeypatch.delenv("HF_TOKEN")
    done = run("publish", "mini", "me/mini", "--json")
    assert done.code == 3
    told = json.loads(done.err.splitlines()[-1])
    assert told["error"] == "CredentialsError"
    assert "hf auth login" in told["hint"]
    shard = next((tmp_path / "mini").rglob("chips.zarr/*/*/c/0/0/0/0"))
    shard.write_bytes(b"")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert run("publish", "mini", "me/mini").code == 6
    assert not hub.repos


def test_every_command_takes_an_address_or_says_how_to_get_a_folder(run: Run, tmp_path: Path) -> None:
    """A signed address with user and password; neither is ever shown, nor in a file that is written."""
    with RangeServer(tmp_path, signed=True) as server:
        place, _, signature = server.url.partition("?")
        plain, query = f"{place}/mini", f"?{signature}"
        secret = signature.partition("=")[2]
        address = plain.replace("://", "://me:passw@") + "/" + query
        works = (
            ["show", address, "0"],
            ["diff", address, "mini"],
            ["diff", address, "mini", "--json"],
            ["explain", address, "0", "position"],
            ["report", address],
            ["export", address, "--chips", "0", "--format", "png", "--out", "exported"],
            ["verify", address],
            ["pull", address, "pulled"],
        )
        refused = (["stats"], ["split"], ["status"], ["finalize"], ["publish", "./there"])
        for args in works:
            done = run(*args)
            assert done.code == 0, (args[0], done.err)
            assert secret not in done.out + done.err
            assert "passw" not in done.out + done.err
        for command, *rest in refused:
            done = run(command, address, *rest)
            assert done.code == 2, command
            assert f"m3leo-prep pull {plain} FOLDER" in done.err
            assert secret not in done.err
            assert "passw" not in done.err
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in written if secret.encode() in path.read_bytes() or b"passw" in path.read_bytes()]
        assert "mini: the folder holds" in run("pull", address).err, "the folder is called like the dataset"
        done = run("pull", "./pulled", address)
        assert done.code == 2
        assert "a folder of this machine" in done.err
