"""Reading from the Hub: pinned to a commit, one request a read, with what a login may see."""

from __future__ import annotations

import builtins
import multiprocessing
import pickle
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest

from m3leo_prep.blobs import http
from m3leo_prep.blobs import hub as hub_files
from m3leo_prep.blobs.hub import HubFiles, open_hub
from m3leo_prep.blobs.location import open_root
from m3leo_prep.core.errors import ConfigError, CredentialsError, MissingDependency, StoreError
from m3leo_prep.testing.hub import HubStandIn, broken, cut, error, rate_limited

LARGE = np.random.default_rng(0).bytes(300_000)
SMALL = b'{"small": true}'
ADDRESS = "hf://datasets/me/chips"


def commit(files: dict[str, bytes], **settings: Any) -> str:
    """Commit files with the real client; returns the hash."""
    from huggingface_hub import CommitOperationAdd, HfApi

    changes = [CommitOperationAdd(name, data) for name, data in files.items()]
    return str(HfApi().create_commit("me/chips", changes, commit_message="files", repo_type="dataset", **settings).oid)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.0)


@pytest.fixture
def chips(hub: HubStandIn) -> HubStandIn:
    """Return the Hub with a repository of a large and a small file, nothing asked yet."""
    hub.holdings.create("me/chips")
    commit({"chips.zarr/c/0/0": LARGE, "manifest.json": SMALL, "a b/ä.json": b"[]"})
    hub.requests.clear()
    return hub


class TestReads:
    def test_are_what_slicing_says(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        for name, data in (("chips.zarr/c/0/0", LARGE), ("manifest.json", SMALL)):
            assert root.get(name) == data
            for start, length in ((0, 4), (5, 3), (7, None), (-6, None), (-6, 2), (len(data) - 2, 9), (len(data), 1)):
                stop = None if length is None else (start + length if start >= 0 else len(data) + start + length)
                assert root.get(name, start, length) == data[start:stop], (name, start, length)
            assert root.get(name, 3, 0) == b""
            assert root.size(name) == len(data)
        assert root.get("a b/ä.json") == b"[]"

    def test_of_a_known_large_file_are_one_request(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        root.get("chips.zarr/c/0/0", 0, 100)
        chips.requests.clear()
        for start in range(0, 5000, 1000):
            root.get("chips.zarr/c/0/0", start, 1000)
        assert [(r.route, r.range) for r in chips.requests] == [
            ("cdn", f"bytes={start}-{start + 999}") for start in range(0, 5000, 1000)
        ]
        assert sum(r.bytes for r in chips.requests) == 5000

    def test_of_a_small_file_are_one_request(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        chips.requests.clear()
        root.get("manifest.json")
        root.get("manifest.json", 2, 3)
        assert [r.route for r in chips.requests] == ["resolve", "resolve"]

    def test_of_a_small_file_follow_the_hub_to_another_of_its_addresses(self, chips: HubStandIn) -> None:
        chips.holdings.redirects_small = chips.repos["me/chips"].private = True
        root = open_hub(ADDRESS)
        chips.requests.clear()
        assert root.size("manifest.json") == len(SMALL)
        assert [root.get("manifest.json"), root.get("manifest.json", 2, 3)] == [SMALL, SMALL[2:5]]
        assert root.get("a b/ä.json") == b"[]"
        assert chips.counts["cache"] == 4
        assert all(r.authorized for r in chips.requests)

    def test_after_the_size_know_where_the_file_lies(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        root.size("chips.zarr/c/0/0")
        chips.requests.clear()
        root.get("chips.zarr/c/0/0", 1, 1)
        assert [r.route for r in chips.requests] == ["cdn"]

    def test_give_the_token_to_the_hub_alone(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        for _ in range(2):
            root.get("chips.zarr/c/0/0", 0, 100)
        assert {r.route: r.authorized for r in chips.requests} == {"info": True, "resolve": True, "cdn": False}

    def test_of_an_expired_address_resolve_again_once(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        root.get("chips.zarr/c/0/0", 0, 100)
        chips.expire()
        chips.requests.clear()
        assert root.get("chips.zarr/c/0/0", 50, 100) == LARGE[50:150]
        assert [(r.route, r.status) for r in chips.requests] == [("cdn", 403), ("resolve", 302), ("cdn", 206)]
        chips.requests.clear()
        root.get("chips.zarr/c/0/0", 0, 1)
        assert [r.route for r in chips.requests] == ["cdn"]

    def test_go_on_after_a_cut(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        root.get("chips.zarr/c/0/0", 0, 1)
        chips.faults(cut(100_000), "cdn")
        chips.requests.clear()
        assert root.get("chips.zarr/c/0/0") == LARGE
        assert [r.range for r in chips.requests] == ["", "bytes=100000-"]

    def test_outlive_what_passes(self, chips: HubStandIn) -> None:
        for fault in (broken(503), broken(500), rate_limited(0)):
            chips.faults(fault)
        root = open_hub(ADDRESS)
        chips.faults(broken(502), "resolve")
        chips.faults(broken(503), "cdn")
        assert root.get("chips.zarr/c/0/0") == LARGE

    def test_remember_a_bounded_number_of_addresses(self, chips: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub_files, "REMEMBERED", 5)
        root = HubFiles("http://127.0.0.1:1", "me/chips", "0" * 40)
        for number in range(100):
            root.keep(f"{number}", f"http://elsewhere/{number}")
        root.keep("own", "http://127.0.0.1:1/own")
        assert "own" not in root._new
        assert len(root._new) + len(root._old) <= 10
        assert "99" in root._new


class TestPinning:
    def test_a_later_commit_is_not_mixed_in(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        commit({"manifest.json": b"{}", "chips.zarr/c/0/0": LARGE[::-1]})
        assert root.get("manifest.json") == SMALL
        assert root.get("chips.zarr/c/0/0", 0, 10) == LARGE[:10]
        assert open_hub(ADDRESS).get("manifest.json") == b"{}"

    def test_a_branch_a_tag_a_commit_and_a_folder(self, chips: HubStandIn) -> None:
        from huggingface_hub import HfApi

        api, first = HfApi(), chips.repos["me/chips"].branches["main"]
        api.create_tag("me/chips", tag="v1", repo_type="dataset")
        api.create_branch("me/chips", branch="next/one", repo_type="dataset")
        commit({"manifest.json": b"{}"})
        commit({"manifest.json": b"[1]"}, revision="next/one")
        read = {ref: open_hub(f"{ADDRESS}@{ref}").get("manifest.json") for ref in ("v1", "next%2Fone", first, "main")}
        assert read == {"v1": SMALL, "next%2Fone": b"[1]", first: SMALL, "main": b"{}"}
        assert open_hub(f"{ADDRESS}@v1/chips.zarr/c/").get("0/0", 0, 4) == LARGE[:4]
        assert open_hub(f"{ADDRESS}/chips.zarr").size("c/0/0") == len(LARGE)

    def test_a_renamed_repository_is_followed(self, chips: HubStandIn, web: Any) -> None:
        """The Hub sends the old name's requests to the new one's; an error page there is no file."""
        folder = web.folder / "datasets/me/new/resolve/sha"
        folder.mkdir(parents=True)
        (folder / "a").write_bytes(SMALL)

        class Renamed(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(307)
                self.send_header("Location", web.url + self.path.replace("/old/", "/new/"))
                self.end_headers()

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Renamed) as server:
            Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            files = HubFiles(f"http://127.0.0.1:{server.server_port}", "me/old", "sha")
            assert files.size("a") == len(SMALL)
            assert files.get("a") == SMALL
            assert files.size("nothing") is None
            with pytest.raises(FileNotFoundError):
                files.get("nothing")
            server.shutdown()

    def test_asks_for_no_list_of_files(self, chips: HubStandIn) -> None:
        open_hub(ADDRESS)
        assert [r.route for r in chips.requests] == ["info"]
        assert chips.requests[0].bytes < 200


class TestWhatIsSaid:
    def test_url_and_repr_have_the_commit_and_no_token(self, chips: HubStandIn) -> None:
        root = open_root(ADDRESS)
        sha = chips.repos["me/chips"].branches["main"]
        assert root.url == f"{ADDRESS}@{sha}"
        assert open_root(root.url) == root, "it can be opened again"
        assert root.is_remote
        root.get("chips.zarr/c/0/0")
        for text in (repr(root), repr(pickle.dumps(root)), root.url):
            assert chips.token not in text
            assert "Signature" not in text

    @pytest.mark.parametrize(
        "address",
        ["hf://me/chips", "hf://datasets/chips", "hf://datasets/", "hf://models/me/x/y@v/z@w", "hf://datasets/a/b@"],
    )
    def test_a_wrong_address_shows_the_right_form(self, hub: HubStandIn, address: str) -> None:
        with pytest.raises(ConfigError, match="hf://datasets/OWNER/NAME"):
            open_hub(address)
        assert not hub.requests

    @pytest.mark.parametrize("address", ["hf://datasets/a/b?token=word", "hf://me:word@datasets/a/b", "hf://a/b#word"])
    def test_a_wrong_address_is_shown_without_secrets(self, address: str) -> None:
        with pytest.raises(ConfigError) as caught:
            open_hub(address)
        assert "word" not in str(caught.value)

    def test_a_forgotten_word_is_proposed(self) -> None:
        with pytest.raises(ConfigError, match="did you mean hf://datasets/me/chips"):
            open_hub("hf://me/chips")

    def test_an_absent_file(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        assert root.size("nothing") is None
        for length in (None, 0, 5):
            with pytest.raises(FileNotFoundError, match="nothing"):
                root.get("nothing", 0, length)
        with pytest.raises(FileNotFoundError):
            root.get("chips.zarr")
        with pytest.raises(StoreError, match="not a name"):
            root.get("../x")

    def test_an_absent_repository_proposes_near_ones(self, chips: HubStandIn) -> None:
        with pytest.raises(StoreError, match="did you mean 'chips'"):
            open_hub("hf://datasets/me/chip")

    def test_an_absent_revision_proposes_near_ones(self, chips: HubStandIn) -> None:
        with pytest.raises(StoreError, match=r"no revision 'mian'.*\n.*did you mean 'main'"):
            open_hub(f"{ADDRESS}@mian")

    def test_a_short_hash_is_told_to_be_long(self, chips: HubStandIn) -> None:
        sha = chips.repos["me/chips"].branches["main"]
        with pytest.raises(StoreError, match="all 40 digits"):
            open_hub(f"{ADDRESS}@{sha[:8]}")

    def test_a_private_one_needs_a_login(self, chips: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        chips.repos["me/chips"].private = True
        root = open_hub(ADDRESS)
        assert [root.get("manifest.json"), root.get("manifest.json")] == [SMALL, SMALL]
        assert all(r.status == 200 for r in chips.requests)
        monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(CredentialsError, match="hf auth login"):
            open_hub(ADDRESS)
        monkeypatch.setenv("HF_TOKEN", chips.stranger_token)
        with pytest.raises(StoreError, match="that your login may see"):
            open_hub(ADDRESS)
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        with pytest.raises(CredentialsError, match="does not know this token") as caught:
            open_hub(ADDRESS)
        assert "hf_wrong" not in str(caught.value)
        monkeypatch.setenv("HF_TOKEN", chips.read_token)
        assert open_hub(ADDRESS).get("manifest.json") == SMALL

    def test_what_the_hub_refuses_is_told_in_its_words(self, chips: HubStandIn) -> None:
        chips.faults(error(403, "Access to this resource is disabled."), "info")
        with pytest.raises(CredentialsError, match="the Hub refuses it: Access to this resource is disabled"):
            open_hub(ADDRESS)

    def test_a_login_that_ends_while_reading(self, chips: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        chips.repos["me/chips"].private = True
        root = open_hub(ADDRESS)
        monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(CredentialsError, match=r"401 Unauthorized.*\n.*hf auth login"):
            root.get("manifest.json")

    def test_a_gated_one_says_where_its_conditions_are(
        self, chips: HubStandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chips.repos["me/chips"].gated = True
        monkeypatch.setenv("HF_TOKEN", chips.stranger_token)
        root = open_hub(ADDRESS)
        with pytest.raises(CredentialsError, match=r"accept them at .*/datasets/me/chips"):
            root.get("manifest.json")

    def test_a_hub_that_is_down(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        with chips.down():
            with pytest.raises(StoreError, match="takes no connections"):
                open_hub(ADDRESS)
            with pytest.raises(StoreError, match="takes no connections"):
                root.get("manifest.json")
        assert root.get("manifest.json") == SMALL

    def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        imported = builtins.__import__

        def refuse(name: str, *rest: Any, **more: Any) -> Any:
            if name == "huggingface_hub":
                raise ModuleNotFoundError(name="huggingface_hub")
            return imported(name, *rest, **more)

        monkeypatch.delenv("HF_ENDPOINT", raising=False)
        monkeypatch.setattr(builtins, "__import__", refuse)
        with pytest.raises(MissingDependency, match=r"pip install 'm3leo-prep\[hub\]'"):
            open_hub(ADDRESS)


class TestProcesses:
    def test_pickles_without_secrets(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        root.get("chips.zarr/c/0/0", 0, 1)
        copy = pickle.loads(pickle.dumps(root))
        assert copy == root
        assert copy.get("chips.zarr/c/0/0", 5, 5) == LARGE[5:10]

    @pytest.mark.skipif(sys.platform != "linux", reason="fork")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_forked_readers_have_connections_of_their_own(self, chips: HubStandIn) -> None:
        root = open_hub(ADDRESS)
        root.get("chips.zarr/c/0/0", 0, 1)
        context = multiprocessing.get_context("fork")
        results: Any = context.SimpleQueue()

        def read(start: int) -> None:
            results.put((start, [root.get("chips.zarr/c/0/0", start + i, 8) for i in range(20)]))

        workers = [context.Process(target=read, args=(start,)) for start in (0, 1000)]
        for worker in workers:
            worker.start()
        mine = [root.get("chips.zarr/c/0/0", 2000 + i, 8) for i in range(20)]
        found = dict(results.get() for _ in workers) | {2000: mine}
        for worker in workers:
            worker.join()
        for start, read_ones in found.items():
            assert read_ones == [LARGE[start + i : start + i + 8] for i in range(20)]
