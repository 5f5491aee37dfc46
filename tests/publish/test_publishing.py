"""Publishing to the Hub: shards first, the manifest last, nothing twice, whatever goes wrong on the way (D94)."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from m3leo_prep.core.errors import CredentialsError, PublishError, VerifyError
from m3leo_prep.pipeline.manifest import rewrite
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.ports.target import Limits, Outgoing
from m3leo_prep.publish.holes import check_holes, holes_of
from m3leo_prep.publish.limits import check_limits, hub_limits
from m3leo_prep.publish.publishing import Published, publish
from m3leo_prep.publish.targets import hub as hub_module
from m3leo_prep.publish.targets import patience
from m3leo_prep.publish.targets.location import open_target
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.store.tables import read_shards, write_shards
from m3leo_prep.testing.hub import (
    HubStandIn,
    broken,
    cut_upload,
    dropped,
    error,
    lost,
    rate_limited,
    reset,
    stale,
    storage_exceeded,
)
from m3leo_prep.testing.hub.repositories import Repository

from .conftest import PLAIN, SMALL, build_at

pytestmark = pytest.mark.usefixtures("waits")
REPO = "me/plain"
SMALL_STEP = hub_module.STEP.__class__(files=12, bytes=10**9, is_atomic=True)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long would have been waited: nobody waits here, nor does the client, which repeats some by itself."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


@pytest.fixture
def dataset(plain_described: Path, tmp_path: Path) -> Path:
    """Return a copy of a dataset that is described already, to change."""
    return Path(shutil.copytree(plain_described, tmp_path / "plain"))


@pytest.fixture
def twelve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve files a step."""
    monkeypatch.setattr(hub_module, "STEP", SMALL_STEP)


def names_of(dataset: Path) -> dict[str, str]:
    """Return the sha256 of every file of a dataset but its build state."""
    files = [p for p in dataset.rglob("*") if p.is_file() and ".m3leo" not in p.parts]
    return {p.relative_to(dataset).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def published(hub: HubStandIn, revision: str = "main", repo: str = REPO) -> dict[str, str]:
    """Return the same of a repository."""
    commit = hub.repos[repo].find(revision)
    assert commit is not None
    return {
        name: hashlib.sha256(hub.read(repo, name, revision)).hexdigest()
        for name in commit.tree
        if name != ".gitattributes"
    }


def history(repo: Repository) -> list[dict[str, str]]:
    """Return (name -> content) of each commit, the oldest first."""
    found, sha = [], repo.branches["main"]
    while sha:
        commit = repo.commits[sha]
        found.append({name: entry.key for name, entry in commit.tree.items()})
        sha = commit.parent
    return found[::-1]


def check_once(hub: HubStandIn, dataset: Path) -> None:
    """Nothing came in twice, but what lies in the dataset under several names."""
    contents = [p.read_bytes() for p in dataset.rglob("*") if p.is_file() and ".m3leo" not in p.parts]
    times = Counter(hashlib.sha256(data).hexdigest() for data in contents)
    times += Counter(hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() for data in contents)
    assert hub.uploads
    assert {key: n for key, n in hub.uploads.items() if n > times[key]} == {}


def check_never_ahead(hub: HubStandIn) -> int:
    """No commit has a manifest that speaks of files that are not there, or are not these; return how many have one."""
    states = [state for state in history(hub.repos[REPO]) if "manifest.json" in state]
    for state in states:

        def read(name: str, state: dict[str, str] = state) -> bytes:
            return hub.holdings.blobs.path(state[name]).read_bytes()

        expected = dict(json.loads(read("manifest.json"))["files"])
        shards = pq.read_table(io.BytesIO(read("shards.parquet"))).to_pylist()
        expected |= {row["path"]: row["sha256"] for row in shards if row["bytes"]}
        assert {name: hashlib.sha256(read(name)).hexdigest() for name in expected} == expected
        assert not [row["path"] for row in shards if not row["bytes"] and row["path"] in state]
    return len(states)


def test_all_of_it_lands_and_the_manifest_comes_last(hub: HubStandIn, dataset: Path) -> None:
    told: list[int] = []
    starts: list[tuple[int, int]] = []
    made = publish(dataset, REPO, on_bytes=told.append, on_start=lambda *given: starts.append(given))
    assert published(hub) == names_of(dataset)
    states = history(hub.repos[REPO])
    added = [state.keys() - before.keys() for before, state in zip([{}, *states], states, strict=False)]
    assert all(len(names) < 100 for names in added)
    assert [("manifest.json" in state) for state in states] == [False] * (len(states) - 1) + [True]
    assert added[-1] >= {"README.md", "chips.parquet", "shards.parquet", "manifest.json", "chips.zarr/zarr.json"}
    shards = {name for name in names_of(dataset) if "/c/" in name and name.endswith("/0/0/0")}
    assert shards
    assert shards <= added[1]
    check_once(hub, dataset)
    assert made.url == f"hf://datasets/{REPO}"
    assert made.page == f"{hub.endpoint}/datasets/{REPO}"
    assert made.revision == hub.repos[REPO].branches["main"]
    assert (made.sent, made.there, made.removed) == (len(names_of(dataset)), 0, 0)
    assert starts == [(made.sent, made.sent_bytes)]
    assert (len(told), sum(told)) == (made.sent, made.sent_bytes)


def test_again_sends_nothing(hub: HubStandIn, dataset: Path) -> None:
    publish(dataset, REPO)
    before = hub.repos[REPO].branches["main"]
    hub.forget_requests()
    made = publish(dataset, f"https://huggingface.co/datasets/{REPO}")
    assert (made.sent, made.there) == (0, len(names_of(dataset)))
    assert hub.repos[REPO].branches["main"] == before == made.revision
    assert not hub.uploads
    assert not {"commit", "preupload", "lfs_put"} & hub.counts.keys()


@pytest.mark.usefixtures("twelve")
@pytest.mark.parametrize("fault", [cut_upload(10), reset(), error(401, "Invalid credentials in Authorization header")])
def test_a_run_that_ends_in_file_7_of_12_goes_on_from_there(hub: HubStandIn, dataset: Path, fault: object) -> None:
    """D94: an expired login, or a network that stays away."""
    ends = [0]

    def is_over(request: object) -> bool:
        ends[0] += request.route == "lfs_put"  # type: ignore[attr-defined]  the stand-in's record
        return ends[0] >= 7

    hub.faults(fault, times=None, when=is_over)
    with pytest.raises((PublishError, CredentialsError)) as caught:
        publish(dataset, REPO)
    assert "hf_" not in str(caught.value).replace("hf_token", "")
    assert "manifest.json" not in hub.repos[REPO].files
    arrived = dict(hub.uploads)
    assert len(arrived) >= 6
    hub.faults.clear()
    made = publish(dataset, REPO)
    assert published(hub) == names_of(dataset)
    check_once(hub, dataset)
    assert made.steps > 1
    assert len(hub.uploads) > len(arrived)
    assert check_never_ahead(hub) == 1


@pytest.mark.parametrize(
    ("fault", "route"),
    [
        (rate_limited(0), "commit"),
        (rate_limited(), "commit"),
        (broken(500), "commit"),
        (broken(503), "preupload"),
        (broken(504), "lfs_batch"),
        (broken(503), "lfs_put"),
        (cut_upload(5), "lfs_put"),
        (lost(), "lfs_put"),
        (dropped(), "lfs_put"),
        (reset(), "commit"),
        (lost(), "commit"),
        (stale(), "commit"),
        (broken(502), "refs"),
        (broken(503), "tree"),
        (rate_limited(0), "create_repo"),
        (reset(), "whoami"),
    ],
)
def test_what_passes_by_itself_is_tried_again(
    hub: HubStandIn, plain_described: Path, fault: object, route: str
) -> None:
    paths = [(plain_described / name, name, digest) for name, digest in names_of(plain_described).items()]
    files = [Outgoing(name, path, path.stat().st_size, digest) for path, name, digest in paths[:24]]
    hub.faults(fault, route)
    place = open_target(REPO)
    place.check()
    place.prepare()
    for part in (files[:12], files[12:]):
        place.send(place.missing(part), "some", lambda _: None)
    assert published(hub) == {file.name: file.sha256 for file in files}
    states = history(hub.repos[REPO])
    assert all(one != other for one, other in pairwise(states)), "no commit was made twice"
    assert [request for request in hub.requests if request.fault]


def test_how_long_the_hub_asks_to_wait(hub: HubStandIn, dataset: Path, waits: list[float]) -> None:
    hub.faults(rate_limited(77), "commit", times=2)
    said: list[str] = []
    publish(dataset, REPO, say=said.append)
    assert [seconds for seconds in waits if seconds > 5] == [77, 77]
    assert [line for line in said if "trying again in 77 s" in line]
    hub.reset()
    hub.faults(rate_limited(100_000), "commit")
    with pytest.raises(PublishError, match=r"asks to wait 27.8 h"):
        publish(dataset, REPO)


def test_it_is_tried_for_a_bounded_time(hub: HubStandIn, dataset: Path) -> None:
    hub.faults(broken(503), "commit", times=None)
    with pytest.raises(PublishError, match="answers 503") as caught:
        publish(dataset, REPO)
    assert hub.counts["commit"] == patience.ATTEMPTS
    assert "run the same `publish` again" in caught.value.hint
    assert caught.value.exit_code == 5
    hub.faults.clear()
    publish(dataset, REPO)
    check_once(hub, dataset)


def test_nobody_is_logged_in(hub: HubStandIn, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(CredentialsError, match="no Hugging Face login") as caught:
        publish(dataset, REPO)
    assert "hf auth login" in caught.value.hint
    made = publish(dataset, REPO, dry_run=True)
    assert "no Hugging Face login" in made.warnings[0]
    for token, message in (("hf_wrong_secret", "refuses this login"), (hub.read_token, "may only read")):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(CredentialsError, match=message) as caught:
            publish(dataset, REPO)
        assert token not in str(caught.value)
        assert caught.value.exit_code == 3
    assert not hub.repos


def test_somebody_elses_repository(hub: HubStandIn, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(dataset, REPO)
    owner(hub).delete_file("stats/position.json", REPO, repo_type="dataset")
    monkeypatch.setenv("HF_TOKEN", hub.stranger_token)
    with pytest.raises(CredentialsError, match="may not write here"):
        publish(dataset, REPO)


def owner(hub: HubStandIn) -> Any:
    """Return the Hub's own client, logged in as the owner."""
    import huggingface_hub

    return huggingface_hub.HfApi(endpoint=hub.endpoint, token=hub.token)


def test_the_account_is_full(hub: HubStandIn, dataset: Path) -> None:
    for route, status in (("lfs_batch", 403), ("commit", 413)):
        hub.faults(storage_exceeded(status), route)
        with pytest.raises(PublishError, match="the account is full") as caught:
            publish(dataset, REPO)
        assert "one repository per area or modality" in caught.value.hint
    assert "manifest.json" not in hub.repos[REPO].files


def test_the_hub_is_down(hub: HubStandIn, dataset: Path) -> None:
    with hub.down(), pytest.raises(PublishError, match="does not answer"):
        publish(dataset, REPO)


def test_another_dataset_lies_there(hub: HubStandIn, dataset: Path) -> None:
    publish(dataset, REPO)
    before = hub.repos[REPO].branches["main"]
    folder = DatasetFolder(dataset)
    rewrite(folder.blobs, folder.manifest or {}, dataset_id="0123456789abcdef")
    with pytest.raises(PublishError, match="another dataset lies there"):
        publish(dataset, REPO)
    assert hub.repos[REPO].branches["main"] == before


def test_what_differs_there_is_put_right(hub: HubStandIn, dataset: Path) -> None:
    """Also where the manifest itself is right: it goes before a file that it speaks of is changed, and comes back."""
    publish(dataset, REPO)
    first = len(history(hub.repos[REPO]))
    api = owner(hub)
    own = ("LICENSE", "stats/notes.csv", "previews/cover.png")
    for name in (*own, "stats/old.json", "stats/position.json"):
        api.upload_file(path_or_fileobj=b"x", path_in_repo=name, repo_id=REPO, repo_type="dataset")
    api.delete_file("recipe.yaml", REPO, repo_type="dataset")
    hub.forget_requests()
    made = publish(dataset, REPO)
    assert published(hub) == names_of(dataset) | dict.fromkeys(own, hashlib.sha256(b"x").hexdigest())
    assert (made.sent, made.removed) == (3, 1)
    states = history(hub.repos[REPO])
    assert ["manifest.json" in state for state in states[first + 5 :]] == [True, False, False, True, True]
    assert "stats/old.json" in states[-2]


def test_a_dataset_that_has_grown_follows_and_the_old_one_is_still_read(hub: HubStandIn, dataset: Path) -> None:
    publish(dataset, REPO)
    old = Dataset(f"hf://datasets/{REPO}")
    before = old.read(5, "landcover")[0].tobytes()
    assert Dataset(dataset).read(5, "landcover")[0].tobytes() == before
    build_at(dataset, f"{PLAIN.rstrip()}\n  relief: {{source: synthetic, product: relief, resolution: 40}}\n", SMALL)
    assert publish(dataset, REPO).sent > 0
    assert check_never_ahead(hub) == 2
    assert published(hub) == names_of(dataset)
    assert old.read(5, "landcover")[0].tobytes() == before
    new = Dataset(f"hf://datasets/{REPO}")
    assert new.read(5, "relief")[0].tobytes() == Dataset(dataset).read(5, "relief")[0].tobytes()
    assert "relief" not in old.layers


def test_a_dry_run_writes_nothing_anywhere(hub: HubStandIn, plain: Path) -> None:
    before = names_of(plain)
    tree = {path: path.stat().st_mtime_ns for path in (plain, *plain.rglob("*"))}
    made = publish(plain, REPO, dry_run=True)
    assert names_of(plain) == before
    assert {path: path.stat().st_mtime_ns for path in (plain, *plain.rglob("*"))} == tree
    assert not hub.repos
    assert {request.method for request in hub.requests} <= {"GET", "HEAD"}
    assert made == Published(
        url=f"hf://datasets/{REPO}",
        page=f"{hub.endpoint}/datasets/{REPO}",
        revision="",
        sent=len(before),
        sent_bytes=sum(
            path.stat().st_size for path in plain.rglob("*") if path.is_file() and ".m3leo" not in path.parts
        ),
        there=0,
        removed=0,
        steps=2,
        licence="cc0-1.0",
        warnings=(),
        is_dry_run=True,
    )


def test_damage_is_refused(hub: HubStandIn, dataset: Path) -> None:
    shard = next(dataset.rglob("chips.zarr/*/*/c/0/0/0/0"))
    data = bytearray(shard.read_bytes())
    data[3] ^= 1
    shard.write_bytes(data)
    with pytest.raises(VerifyError, match=r"c/0/0/0/0: damaged"):
        publish(dataset, REPO)
    assert not hub.repos


def test_a_build_that_is_not_finished_is_refused(hub: HubStandIn, plain: Path) -> None:
    folder = DatasetFolder(plain)
    manifest = folder.manifest or {}
    layers = {"landcover": manifest["layers"]["landcover"]}
    files = [name for name in manifest["files"] if "position" in name]
    for name in files:
        (plain / name).unlink()
    shards = {name: shard for name, shard in read_shards(folder.blobs).items() if "/position/" not in name}
    write_shards(folder.blobs, shards.values())
    rewrite(folder.blobs, manifest, [*files, "shards.parquet"], layers=layers)
    with pytest.raises(PublishError, match="not finished: position is not part of the dataset yet"):
        publish(plain, REPO)
    assert not hub.repos


def test_holes_that_may_fill_are_refused(tmp_path: Path) -> None:
    reasons = {"s1": {"OK": 5, "RATE_LIMITED": 2, "NOT_BUILT": 1, "NO_ACQUISITION": 7}, "dem": {"OK": 9}}
    assert holes_of(reasons) == {"s1": 3}
    with pytest.raises(PublishError, match=r"3 holes .* 3 in s1 \(RATE_LIMITED, NOT_BUILT\)") as caught:
        check_holes(reasons, {"area": {"name": "sao tome"}, "name": "m3leo"}, tmp_path / "x y")
    assert "m3leo-prep build --aoi 'sao tome' --recipe m3leo --out '" in caught.value.hint
    assert "--allow-holes" in caught.value.hint
    check_holes({"dem": {"OK": 9}, "s1": {"CORRUPT": 4}}, {}, tmp_path)


DOWN = """
from dataclasses import dataclass
from m3leo_prep.core.errors import TransientError
from m3leo_prep.core.raster import Item, Kind, SourceInfo, Variable
from shapely.geometry import box


@dataclass(frozen=True)
class Down:
    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("a",)),), version="1", pitch=10.0)

    def find(self, area, slots):
        yield Item("one", box(-180, -90, 180, 90))

    def read(self, items, geobox, slot):
        raise TransientError("the provider is down")
"""


def test_holes_of_a_dataset_are_refused(hub: HubStandIn, tmp_path: Path) -> None:
    """A provider that was down has left some; the dataset itself is as it says."""
    (tmp_path / "down.py").write_text(DOWN)
    recipe = f'{PLAIN.rstrip()}\n  lost: {{source: "./down.py:Down"}}\n'
    dataset = build_at(tmp_path / "plain", recipe, (9.3, 57.1, 9.303, 57.102))
    with pytest.raises(PublishError, match=r"in lost \(PROVIDER_ERROR\)"):
        publish(dataset, REPO, licence="cc-by-4.0")
    assert not hub.repos
    publish(dataset, REPO, licence="cc-by-4.0", allow_holes=True)
    assert published(hub) == names_of(dataset)


def test_limits() -> None:
    def file(name: str, size: int = 1) -> Outgoing:
        return Outgoing(name, Path(name), size, "")

    limits = Limits(files=3, entries=2, file_bytes=10, free_bytes=12, source="where it stands")
    assert check_limits([file("a/b"), file("a/c"), file("d", 9)], limits, "x") == ()
    for files, message in (
        ([file(f"{n}/x") for n in "abcd"], "4 files: a repository takes 3"),
        ([file(f"a/{n}/x") for n in "abc"], "3 entries in a: a folder takes 2"),
        ([file(n) for n in "abc"], "3 entries in the root"),
        ([file("a", 10)], "a has 0.0 GB"),
    ):
        with pytest.raises(PublishError, match=message) as caught:
            check_limits(files, limits, "x")
        assert "one repository per area or modality" in caught.value.hint
        assert "where it stands" in str(caught.value)
    (warning,) = check_limits([file("a", 9), file("b", 9)], limits, "x")
    assert "one repository per area or modality" in warning
    assert check_limits([file("a", 10**15)] * 9, Limits(), "x") == ()
    assert hub_limits(private=True).free_bytes == 100 * 10**9
    assert hub_limits(private=False).entries == 10_000
