"""Places to publish to: what each makes, compares, refuses; and how a person names them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from m3leo_prep.core.errors import ConfigError, CredentialsError, PublishError, StoreError
from m3leo_prep.ports.target import Outgoing, Target
from m3leo_prep.publish.publishing import publish
from m3leo_prep.publish.targets.location import as_location, open_target
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.testing.hub import HubStandIn

FILES = {"manifest.json": b"{}", "a/b.json": b"[1]", "a/large.parquet": bytes(range(256)) * 99}


@pytest.fixture
def outgoing(tmp_path: Path) -> Callable[..., list[Outgoing]]:
    """Return a function that makes files to publish."""

    def make(**changed: bytes) -> list[Outgoing]:
        made = []
        for name, data in (FILES | {key.replace("__", "/"): value for key, value in changed.items()}).items():
            path = tmp_path / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            made.append(Outgoing(name, path, len(data), hashlib.sha256(data).hexdigest()))
        return made

    return make


@pytest.fixture(params=["hub", "s3", "folder", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Target]:
    """Return a function that opens the same empty place anew."""
    if request.param == "hub":
        request.getfixturevalue("hub")
        return lambda: open_target("me/data")
    if request.param == "s3":
        address = request.getfixturevalue("s3")
        return lambda: open_target(address)
    if request.param == "memory":
        return lambda: open_target(f"memory://{tmp_path.name}/data")
    return lambda: open_target(f"{tmp_path}/target")


def test_every_place_keeps_the_rules(target: Callable[[], Target], outgoing: Callable[..., list[Outgoing]]) -> None:
    files = outgoing()
    place = target()
    assert isinstance(place, Target)
    assert place.manifest() is None
    assert place.listed() - {".gitattributes"} == set()
    assert place.missing(files) == files
    place.check()
    place.prepare()
    told: list[int] = []
    place.send(files[1:], "first", told.append)
    assert sorted(told) == sorted(file.size for file in files[1:])
    assert place.manifest() is None
    for again in (place, target()):
        assert again.missing(files) == files[:1]
    place.send(files, "all", lambda _: None)
    assert target().manifest() == FILES["manifest.json"]
    assert target().missing(files) == []
    same_size = outgoing(a__b_json=b"[1]") and outgoing(**{"a__b.json": b"[2]"})
    assert [file.name for file in target().missing(same_size)] == ["a/b.json"]
    other_size = outgoing(**{"a__b.json": b"[2, 3]"})
    assert [file.name for file in target().missing(other_size)] == ["a/b.json"]
    assert target().listed() - {".gitattributes"} == FILES.keys()
    place.remove(["a/b.json", "never/there"], "gone")
    assert target().listed() - {".gitattributes"} == FILES.keys() - {"a/b.json"}


def test_two_that_write_at_once_do_not_undo_each_other(
    hub: HubStandIn, outgoing: Callable[..., list[Outgoing]]
) -> None:
    files = outgoing()
    one, other = open_target("me/data"), open_target("me/data")
    for place in (one, other):
        place.prepare()
        assert place.missing(files) == files
    one.send(files[:2], "one", lambda _: None)
    said: list[str] = []
    slow = open_target("me/data", say=said.append)
    assert slow.missing(files) == files[2:]
    other.send(files, "other", lambda _: None)  # its parent commit is an old one: 412, then it looks again
    assert hub.repos["me/data"].files.keys() >= FILES.keys()
    assert [request.status for request in hub.asked("commit")] == [200, 412, 200]
    assert one.revision != other.revision == hub.repos["me/data"].branches["main"]


def test_private_and_revision(hub: HubStandIn, outgoing: Callable[..., list[Outgoing]]) -> None:
    place = open_target("hf://datasets/me/secret@draft", private=True)
    assert place.url == "hf://datasets/me/secret@draft"
    assert place.page == f"{hub.endpoint}/datasets/me/secret/tree/draft"
    place.prepare()
    place.send(outgoing(), "all", lambda _: None)
    repo = hub.repos["me/secret"]
    assert repo.private
    assert repo.commits[repo.branches["draft"]].tree.keys() >= FILES.keys()
    assert "manifest.json" not in repo.commits[repo.branches["main"]].tree
    assert open_target("me/secret", revision="draft").missing(outgoing()) == []
    open_target("me/open").prepare()
    with pytest.raises(PublishError, match="there already, and is public"):
        open_target("me/open", private=True).prepare()
    with pytest.raises(PublishError, match="there already, and is public"):
        open_target("me/open", private=True).check()
    open_target("me/new", private=True).check()
    assert "me/new" not in hub.repos
    assert not hub.repos["me/open"].private


def test_what_may_not_be_made(hub: HubStandIn) -> None:
    for name in ("me/pla--in", "me/-plain", "me/plain.git", f"me/{'x' * 97}"):
        with pytest.raises(PublishError, match=r"not allowed|refuses it") as caught:
            open_target(name).prepare()
        assert "OWNER/NAME" in caught.value.hint
    with pytest.raises(CredentialsError, match="may not write here"):
        open_target("google/plain").prepare()
    assert not hub.repos


def test_names_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert as_location("datasets/me/europe") == "hf://datasets/me/europe"
    assert as_location("https://huggingface.co/datasets/me/europe/tree/draft") == "hf://datasets/me/europe@draft"
    assert as_location("/data/europe") == "/data/europe"
    with pytest.raises(ConfigError, match="a folder or a repository"):
        as_location("europe")
    (tmp_path / "me" / "europe").mkdir(parents=True)
    assert as_location("me/") == "me/"
    with pytest.raises(ConfigError, match="the folder here or a repository"):
        as_location("me/europe")
    for wrong in ("hf://datasets/me", "hf://datasets/me/plain/below", "hf://me/model"):
        with pytest.raises(ConfigError, match="not a dataset repository"):
            open_target(wrong)
    with pytest.raises(ConfigError, match="two revisions"):
        open_target("hf://datasets/me/plain@one", revision="two")
    with pytest.raises(ConfigError, match="nothing can be written to a web server"):
        open_target("https://example.org/data")
    with pytest.raises(ConfigError, match="kind of address is not known"):
        open_target("nosuch://x")
    for secret in ("hf://u:word@datasets/me", "https://u:word@x/y", "s3://u:word@x/y?sig=word", "nosuch://u:word@x"):
        with pytest.raises(ConfigError) as caught:
            open_target(secret, private=True)
        assert "word" not in str(caught.value)
    for options in ({"private": True}, {"revision": "x"}):
        with pytest.raises(ConfigError, match="is for repositories of the Hub"):
            open_target("./x", **options)  # type: ignore[arg-type]  options of both kinds


def test_to_a_folder_and_to_s3_and_again(plain: Path, s3: str, tmp_path: Path) -> None:
    """Both hold the same bytes, open, and go on after a cut where they were."""
    shutil.rmtree(plain / ".m3leo")
    made = publish(plain, s3)
    files = {p.relative_to(plain).as_posix(): p.read_bytes() for p in plain.rglob("*") if p.is_file()}
    assert (made.url, made.sent) == (s3, len(files))
    remote = Dataset(s3)
    for layer in remote.layers:
        values, valid = remote.read(5, layer)
        expected, _ = Dataset(plain).read(5, layer)
        assert valid.any()
        assert values.tobytes() == expected.tobytes()
    open_target(s3).remove(["manifest.json", "stats/position.json"], "a cut")
    again = publish(plain, s3)
    assert (again.sent, again.there) == (2, len(files) - 2)
    copy = tmp_path / "copy"
    assert publish(plain, str(copy)).sent == len(files)
    assert {p.relative_to(copy).as_posix(): p.read_bytes() for p in copy.rglob("*") if p.is_file()} == files
    assert publish(plain, str(copy)).sent == 0


def test_folders_that_are_no_place(plain: Path, tmp_path: Path) -> None:
    shutil.rmtree(plain / ".m3leo" / "ledger")
    with pytest.raises(ConfigError, match="built or pulled here"):
        publish(plain, str(plain))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="a file, not a folder"):
        open_target(f"{tmp_path}/file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    shutil.rmtree(plain / ".m3leo")
    with pytest.raises(PublishError, match=r"something else lies there, such as thesis.tex"):
        publish(plain, f"{tmp_path}/full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    (tmp_path / "full" / "thesis.tex").unlink()
    (tmp_path / "full" / "stats").mkdir()
    (tmp_path / "full" / "stats" / "mine.csv").write_text("")
    with pytest.raises(PublishError, match=r"such as stats/mine.csv"):
        publish(plain, f"{tmp_path}/full")
    assert (tmp_path / "full" / "stats" / "mine.csv").exists()


def test_what_a_killed_publish_left_half_written_goes(tmp_path: Path, outgoing: Callable[..., list[Outgoing]]) -> None:
    (tmp_path / "target" / "a").mkdir(parents=True)
    (tmp_path / "target" / "a" / ".b.json.1f.part").write_bytes(b"[")
    place = open_target(f"{tmp_path}/target")
    assert place.listed() == set()
    place.send(outgoing(), "all", lambda _: None)
    assert {p.relative_to(tmp_path / "target").as_posix() for p in tmp_path.rglob("target/**/*") if p.is_file()} == (
        FILES.keys()
    )


def test_s3_with_a_wrong_key(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises((CredentialsError, StoreError)) as caught:
        open_target(s3).manifest()
    assert isinstance(caught.value, CredentialsError)
    assert "wrong-secret" not in str(caught.value)


def test_a_file_that_changes_meanwhile_is_not_published(
    tmp_path: Path, outgoing: Callable[..., list[Outgoing]]
) -> None:
    files = outgoing()
    files[1].path.write_bytes(b"[9]")
    place = open_target(f"{tmp_path}/target")
    with pytest.raises(PublishError, match="changed while"):
        place.send(files, "all", lambda _: None)
    assert "a/b.json" not in place.listed()
    assert "manifest.json" in {file.name for file in files[:1]}
