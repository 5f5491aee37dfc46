"""What the Hub stand-in refuses, and the faults it makes: seen with the real client."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import BadRequestError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from m3leo_prep.testing import hub as kit
from m3leo_prep.testing.hub import HubStandIn
from m3leo_prep.testing.hub.card import examine

LARGE = bytes(range(256)) * 500


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits a second and more between its attempts."""
    import huggingface_hub.utils._http as client

    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def api(hub: HubStandIn) -> HfApi:
    hub.holdings.create("me/chips")
    return HfApi()


def send(api: HfApi, *names: str, data: bytes = LARGE, parent: str | None = None) -> str:
    changes = [CommitOperationAdd(name, data + name.encode()) for name in names]
    done = api.create_commit(
        "me/chips", changes, commit_message="files", repo_type="dataset", parent_commit=parent, num_threads=1
    )
    return str(done.oid)


def refused(status: int, text: str) -> Any:
    return pytest.RaisesExc(
        HfHubHTTPError,
        match=text,
        check=lambda error: error.response is not None and error.response.status_code == status,
    )


class TestLogins:
    def test_none(self, hub: HubStandIn, api: HfApi) -> None:
        stranger = HfApi(token=False)
        with refused(401, "Invalid username or password"):
            stranger.create_repo("me/new", repo_type="dataset")
        with refused(401, "Invalid username or password"):
            send(stranger, "x")

    def test_an_unknown_token(self, hub: HubStandIn, api: HfApi) -> None:
        with refused(401, "Invalid user token"):  # the client's own words
            HfApi(token="hf_nonsense").whoami()
        with refused(401, "Invalid credentials in Authorization header"):
            send(HfApi(token="hf_nonsense"), "x")

    @pytest.mark.parametrize("kind", ["read_token", "stranger_token"])
    def test_may_not_write(self, hub: HubStandIn, api: HfApi, kind: str) -> None:
        reader = HfApi(token=getattr(hub, kind))
        with refused(403, "You don't have the rights to create a dataset under the namespace"):
            reader.create_repo("me/new", repo_type="dataset")
        with refused(403, "create_pr=1"):
            send(reader, "x")
        assert reader.dataset_info("me/chips").id == "me/chips"

    def test_a_private_repository_is_not_there_for_others(self, hub: HubStandIn, api: HfApi) -> None:
        send(api, "x")
        hub.repos["me/chips"].private = True
        for token, status in ((hub.stranger_token, 404), (False, 401)):
            other = HfApi(token=token)
            with pytest.raises(RepositoryNotFoundError) as caught:
                other.dataset_info("me/chips")
            assert caught.value.response.status_code == status
            with pytest.raises(RepositoryNotFoundError):
                hf_hub_download("me/chips", "x", repo_type="dataset", token=token)
            assert list(other.list_datasets(author="me")) == []
        assert HfApi(token=hub.read_token).dataset_info("me/chips").private

    def test_a_gated_repository_shows_no_content(self, hub: HubStandIn, api: HfApi) -> None:
        send(api, "x")
        hub.repos["me/chips"].gated = True
        assert HfApi(token=hub.stranger_token).dataset_info("me/chips").gated
        with pytest.raises(GatedRepoError):
            hf_hub_download("me/chips", "x", repo_type="dataset", token=hub.stranger_token)


class TestRefusals:
    def test_a_repository_that_exists(self, api: HfApi) -> None:
        with refused(409, "already created"):
            api.create_repo("me/chips", repo_type="dataset")

    @pytest.mark.parametrize("name", ["-x", "a--b", "x.git", "a" * 97])
    def test_a_name(self, hub: HubStandIn, name: str) -> None:
        import httpx2

        body = {"name": name, "type": "dataset"}
        headers = {"Authorization": f"Bearer {hub.token}"}
        answer = httpx2.post(f"{hub.endpoint}/api/repos/create", json=body, headers=headers)
        assert (answer.status_code, name in answer.json()["error"]) == (400, True)

    def test_a_stale_parent(self, api: HfApi) -> None:
        first = send(api, "x")
        send(api, "y", parent=first)
        with refused(412, "A commit has happened since"):
            send(api, "z", parent=first)

    def test_a_full_account(self, hub: HubStandIn, api: HfApi) -> None:
        hub.holdings.storage_limit = len(LARGE) + 1000
        send(api, "x")
        with refused(403, "storage limit reached"):
            send(api, "y", "z")
        assert hub.counts["lfs_put"] == 1

    def test_an_object_that_was_not_sent(self, hub: HubStandIn, api: HfApi) -> None:
        hub.faults(kit.dropped(), "lfs_put", skip=1)
        with pytest.raises(BadRequestError, match="a file that does not exist: y"):
            send(api, "x", "y", "z")
        assert list(hub.repos["me/chips"].files) == [".gitattributes"]
        send(api, "x", "y", "z")
        assert hub.uploads[hashlib.sha256(LARGE + b"x").hexdigest()] == 1

    def test_an_object_of_another_hash(self, hub: HubStandIn, api: HfApi) -> None:
        import httpx2

        oid = "0" * 64
        url = f"{hub.endpoint}/lfs/{oid}?{hub.holdings.signed(oid)}"
        assert httpx2.put(url, content=b"other").status_code == 400
        assert httpx2.put(f"{hub.endpoint}/lfs/{oid}", content=b"other").status_code == 403
        assert not hub.holdings.blobs.has(oid)

    def test_a_storage_that_is_given_a_token(self, hub: HubStandIn, api: HfApi) -> None:
        import httpx2

        send(api, "x")
        headers = {"Authorization": f"Bearer {hub.token}"}
        where = httpx2.head(f"{hub.endpoint}/datasets/me/chips/resolve/main/x", headers=headers).headers["location"]
        assert where.startswith("http://localhost:")
        assert httpx2.get(where, headers=headers).status_code == 400
        assert httpx2.get(where).content == LARGE + b"x"
        hub.expire()
        assert httpx2.get(where).status_code == 403


class TestFaults:
    def test_a_cut_in_one_of_the_uploads(self, hub: HubStandIn, api: HfApi) -> None:
        hub.faults(kit.cut_upload(1000), "lfs_put", skip=2, times=None)
        with pytest.raises(RuntimeError, match="Error while uploading '2'"):
            send(api, *"0123")
        assert hub.counts["commit"] == 0
        hub.faults.clear()
        send(api, *"0123")
        assert set(hub.uploads.values()) == {1}
        assert sorted(hub.repos["me/chips"].files) == [".gitattributes", *"0123"]

    def test_a_cut_that_passes_is_outlived_by_the_client(self, hub: HubStandIn, api: HfApi) -> None:
        hub.faults(kit.cut_upload(1000), "lfs_put")
        hub.faults(kit.broken(500), "lfs_batch")
        send(api, "x")
        assert hub.read("me/chips", "x") == LARGE + b"x"

    def test_a_lost_answer_leaves_the_commit(self, hub: HubStandIn, api: HfApi) -> None:
        import httpx2

        hub.faults(kit.lost(), "commit")
        with pytest.raises(httpx2.TransportError):
            send(api, "x")
        assert hub.read("me/chips", "x") == LARGE + b"x"
        assert hub.requests[-1].status == 0

    def test_a_reset_leaves_nothing(self, hub: HubStandIn, api: HfApi) -> None:
        import httpx2

        hub.faults(kit.reset(), "commit")
        with pytest.raises(httpx2.TransportError):
            send(api, "x")
        assert len(hub.repos["me/chips"].history) == 1

    @pytest.mark.parametrize(
        ("fault", "status"),
        [(kit.broken(503), 503), (kit.stale(), 412), (kit.storage_exceeded(), 403), (kit.storage_exceeded(413), 413)],
    )
    def test_an_answer_of_an_error(self, hub: HubStandIn, api: HfApi, fault: kit.Fault, status: int) -> None:
        hub.faults(fault, "commit")
        with pytest.raises(HfHubHTTPError) as caught:
            send(api, "x", data=b"text")
        assert caught.value.response.status_code == status

    def test_too_many_requests(self, hub: HubStandIn, api: HfApi) -> None:
        hub.faults(kit.rate_limited(7), "commit")
        with pytest.raises(HfHubHTTPError) as caught:
            send(api, "x", data=b"text")
        assert caught.value.response.headers["Retry-After"] == "7"

    def test_only_the_meant_requests_are_met(self, hub: HubStandIn, api: HfApi) -> None:
        hub.faults(kit.broken(), "resolve", times=2, when=lambda request: request.name == "y")
        send(api, "x", "y", data=b"text")
        hf_hub_download("me/chips", "x", repo_type="dataset")
        assert [r.fault for r in hub.asked("resolve")].count("error") == 0
        hf_hub_download("me/chips", "y", repo_type="dataset")
        assert [r.fault for r in hub.asked("resolve")].count("error") == 2

    def test_a_flipped_bit(self, hub: HubStandIn, api: HfApi) -> None:
        import httpx2

        send(api, "x")
        hub.faults(kit.flipped(70_000), "cdn")
        url = f"{hub.endpoint}/datasets/me/chips/resolve/main/x"
        got = httpx2.get(url, follow_redirects=True, headers={"Authorization": f"Bearer {hub.token}"}).content
        sent = LARGE + b"x"
        assert [i for i in range(len(sent)) if got[i] != sent[i]] == [70_000]

    def test_down_and_up_again(self, hub: HubStandIn, api: HfApi) -> None:
        import httpx2

        with hub.down(), pytest.raises(httpx2.ConnectError):
            api.whoami()
        assert api.whoami()["name"] == "me"
        assert "me/chips" in hub.repos


class TestCards:
    @pytest.mark.parametrize(
        ("yaml", "said"),
        [
            ("license: nonsense", '"license" must be one of'),
            ("license: []", '"license" must be one of'),
            ("license: [", "not valid"),
            ("- license", "type object"),
            ("size_categories: [1K<n<5K]", '"size_categories" must be one of'),
            ("configs: chips", '"configs" must be an array'),
            ("configs: [{data_files: x}]", "config_name"),
            ("configs: [{config_name: a, data_files: [{path: x}]}]", "must name a split"),
            ("configs: [{config_name: a}, {config_name: a}]", "duplicate"),
            ("tags: [1]", '"tags[0]" must be a string'),
        ],
    )
    def test_errors(self, yaml: str, said: str) -> None:
        assert said in examine(f"---\n{yaml}\n---\n# Chips\n").errors[0]

    @pytest.mark.parametrize("text", ["# Chips\n", "---\ntask_categories: [mapping]\n---\n"])
    def test_warnings(self, text: str) -> None:
        found = examine(text)
        assert (len(found.errors), len(found.warnings)) == (0, 1)

    def test_a_good_one(self) -> None:
        card = """---
license: cc-by-4.0
size_categories: [1K<n<10K]
task_categories: [image-segmentation]
tags: [sentinel-1]
configs:
- config_name: previews
  default: true
  data_files:
  - split: train
    path: previews/train-*.parquet
- config_name: chips
  data_files: chips.parquet
---
"""
        found = examine(card)
        assert (found.errors, found.warnings) == ([], [])

    def test_a_bad_one_is_refused_before_anything_is_sent(self, hub: HubStandIn, api: HfApi) -> None:
        card = CommitOperationAdd("README.md", b"---\nlicense: nonsense\n---\n")
        with pytest.raises(ValueError, match="Invalid metadata in README"):
            api.create_commit("me/chips", [card], commit_message="card", repo_type="dataset")
        assert hub.counts["commit"] == 0
