"""ObjectBlobs keeps the contract on a real S3 server, says what is wrong without secrets, and survives a fork."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import signal
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from m3leo_prep.core.errors import ConfigError, CredentialsError, StoreError
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.testing.blobs import BlobsContract
from m3leo_prep.testing.proxy import Cut, FaultProxy
from m3leo_prep.testing.web import Fault

objects = pytest.importorskip("m3leo_prep.blobs.objects")
ObjectBlobs = objects.ObjectBlobs

LARGE = hashlib.shake_256(b"large").digest(2**21 + 7)


@pytest.fixture
def hurried(monkeypatch):
    """Give up sooner than for people."""
    monkeypatch.setitem(objects.RETRIES, "max_retries", 1)
    monkeypatch.setitem(objects.RETRIES, "backoff", {"init_backoff": timedelta(milliseconds=1)})


class TestObjectBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self, s3):
        return ObjectBlobs(s3)


def test_a_large_blob_goes_in_parts_and_comes_back(s3):
    blobs = ObjectBlobs(s3)
    data = os.urandom(2 * objects.PART_BYTES + 5)
    blobs.put("parts", (data[at : at + 1_000_003] for at in range(0, len(data), 1_000_003)))
    assert hashlib.sha256(blobs.get("parts")).digest() == hashlib.sha256(data).digest()
    assert blobs.get("parts", objects.PART_BYTES - 2, 4) == data[objects.PART_BYTES - 2 :][:4]


def test_parts_that_fail_late_leave_nothing(s3):
    """Also when the first parts are on the server already."""

    def parts():
        yield bytes(objects.PART_BYTES + 1)
        raise KeyError

    blobs = ObjectBlobs(s3)
    with pytest.raises(KeyError):
        blobs.put("new", parts())
    assert blobs.size("new") is None
    assert list(blobs.list()) == []


def test_the_hash_lies_beside_the_blob(s3, tmp_path):
    """Publishing compares by it; on S3 an etag is no hash of a blob that was sent in parts."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(objects.PART_BYTES + 1))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    blobs = ObjectBlobs(s3)
    blobs.put_file("a/file", path, digest)
    assert blobs.stored_sha256("a/file") == digest
    assert blobs.get("a/file") == path.read_bytes()
    assert blobs.stored_sha256("nothing") is None
    blobs.put("a/file", b"other")  # nobody said what its hash is
    assert blobs.stored_sha256("a/file") is None
    with pytest.raises(FileNotFoundError):
        blobs.put_file("b", tmp_path / "nothing", digest)


def test_odd_names(s3):
    blobs = ObjectBlobs(s3 + "/a folder")
    names = ["50%25 off.txt", "a b/ü?x=1#y", "plus+and&"]
    for name in names:
        blobs.put(name, name.encode())
    assert list(blobs.list()) == sorted(names)
    assert all(blobs.get(name) == name.encode() for name in names)


def said(call) -> str:
    """Return all that a person could get to see of an error."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  whatever is raised must show no secret
        return "".join(traceback.format_exception(error))
    return "no error"


@pytest.mark.parametrize(
    "call",
    [
        lambda blobs: blobs.get("a"),
        lambda blobs: blobs.size("a"),
        lambda blobs: blobs.put("a", b"1"),
        lambda blobs: blobs.delete("a"),
        lambda blobs: list(blobs.list()),
        lambda blobs: blobs.stored_sha256("a"),
    ],
)
def test_a_wrong_secret_is_told_and_not_shown(s3, monkeypatch, call):
    secret = "very-wrong"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    with pytest.raises(CredentialsError, match="refuses these credentials") as caught:
        call(ObjectBlobs(s3))
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint
    assert secret not in said(lambda: call(ObjectBlobs(s3)))


@pytest.fixture
def bucket(web, monkeypatch):
    """Return a bucket that anybody may read: to an unsigned client S3 is a web server with ranges."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")  # where a cloud's machine gets its credentials
    (web.folder / "public" / "data").mkdir(parents=True)
    (web.folder / "public" / "data" / "a").write_bytes(LARGE)
    return ObjectBlobs("s3://public/data")


def test_without_credentials_public_data_is_read(bucket, web):
    assert bucket.get("a", 3, 4) == LARGE[3:7]
    assert bucket.size("a") == len(LARGE)
    assert bucket.get("a", len(LARGE), 4) == b""
    with pytest.raises(FileNotFoundError):
        bucket.get("nothing")
    assert {request.status for request in web.requests} == {206, 200, 416, 404}


def test_without_credentials_private_data_is_refused_and_nothing_is_written(bucket, web, hurried):
    web.faults.append(Fault(status=403))
    with pytest.raises(CredentialsError, match=r"no credentials(.|\n)*AWS_ACCESS_KEY_ID"):
        bucket.get("a")
    web.requests.clear()
    with pytest.raises(CredentialsError, match="no credentials"):
        bucket.put("a", b"2")
    assert web.requests == [], "no attempt without a signature"


@pytest.mark.parametrize(
    "fault",
    [Fault(cut=0), Fault(cut=2**20), Fault(status=500), Fault(status=503), Fault(status=429), Fault(truncate=9)],
    ids=str,
)
def test_what_passes_by_itself_is_repeated(bucket, web, monkeypatch, fault):
    monkeypatch.setitem(objects.RETRIES, "backoff", {"init_backoff": timedelta(milliseconds=1)})
    web.faults.append(fault)
    assert bucket.get("a", 10, len(LARGE) - 20) == LARGE[10:-10]
    assert not web.faults
    web.faults.append(fault)
    assert bucket.get("a", -len(LARGE) + 5) == LARGE[5:]


def test_a_store_that_stays_down_is_given_up(bucket, web, hurried):
    web.faults.extend([Fault(status=503)] * 9)
    with pytest.raises(StoreError, match="503") as caught:
        bucket.get("a")
    assert len(web.requests) == 2
    assert caught.value.where == "s3://public/data/a"


def test_a_server_that_is_not_there(s3, monkeypatch, hurried):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="cannot be reached"):
        ObjectBlobs(s3).get("a")
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(ConfigError, match="AWS_ALLOW_HTTP=true"):
        ObjectBlobs(s3).get("a")


def test_an_address_without_a_bucket():
    for address in ("s3:///folder", "s3://me:word@/folder?word"):
        with pytest.raises(ConfigError, match="names no bucket") as caught:
            ObjectBlobs(address)
        assert "word" not in str(caught.value)


def test_a_wrong_setting_is_not_taken_for_a_wrong_manifest(s3, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(ConfigError, match="AWS_ALLOW_HTTP"):
        Dataset(s3)


def test_a_bucket_that_is_not_there(s3):
    with pytest.raises(StoreError, match="no such bucket"):
        list(ObjectBlobs("s3://another").list())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_call_that_is_broken_off_leaves_no_answer_to_the_next(s3, capfd):
    """Ctrl-C while an answer is on its way: it must not be taken for that of the next question."""
    blobs = ObjectBlobs(s3)
    blobs.put("large", LARGE)
    blobs.put("small", b"small")
    answers, question = multiprocessing.get_context("fork").Pipe(duplex=False)

    def child():
        blobs.get("small")  # starts the helper
        right, broken = 0, 0
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for _ in range(3):
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            try:
                while True:  # until the signal comes, most likely while it waits
                    blobs.get("large")
            except KeyboardInterrupt:
                broken += 1
            right += blobs.get("small") == b"small"
        question.send((right, broken, blobs.get("small")))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    question.close()
    assert answers.recv() == (3, 3, b"small")
    process.join()
    assert "Traceback" not in capfd.readouterr().err, "the helper keeps quiet about calls that were broken off"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # what this test is about
def test_it_survives_a_fork(s3):
    """The library does not: its threads are gone in the child, and every call would wait for ever."""
    blobs = ObjectBlobs(s3)
    blobs.put("a", b"0123456789")
    context = multiprocessing.get_context("fork")
    answers, question = context.Pipe(duplex=False)

    def child():
        with ThreadPoolExecutor(4) as pool:
            parts = list(pool.map(lambda at: blobs.get("a", at, 2), range(8)))
        try:
            blobs.get("nothing")
        except FileNotFoundError as error:
            absent = str(error)
        blobs.put("from/child", (b"x" for _ in range(3)))
        question.send((parts, blobs.size("a"), absent, list(blobs.list())))

    process = context.Process(target=child)
    process.start()
    question.close()  # so that a child that fails is not waited for
    parts, size, absent, names = answers.recv()
    process.join()
    assert process.exitcode == 0
    assert parts == [b"0123456789"[at : at + 2] for at in range(8)]
    assert size == 10
    assert absent.endswith("/nothing: no such blob")
    assert names == ["a", "from/child"]
    assert blobs.get("from/child") == b"xxx"


def test_a_pickled_one_holds_only_its_address(s3):
    blobs = ObjectBlobs(s3 + "?secret=word")
    assert pickle.loads(pickle.dumps(blobs)) == ObjectBlobs(s3)
    assert b"word" not in pickle.dumps(blobs)
    assert b"testtest" not in pickle.dumps(blobs)


@pytest.fixture
def proxy(s3, monkeypatch):
    """Yield a bad line to the S3 server."""
    server = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    with FaultProxy(server.hostname, server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setitem(objects.RETRIES, "backoff", {"init_backoff": timedelta(milliseconds=1)})
        yield proxy


def test_uploads_and_downloads_survive_cuts(s3, proxy, tmp_path):
    """One request, several parts, and a body on its way here."""
    blobs = ObjectBlobs(s3)
    path = tmp_path / "file"
    path.write_bytes(LARGE * 9)  # 18 MiB: in parts
    proxy.cuts.extend([Cut(2**20, sending=True), Cut(2**20, sending=True)])
    blobs.put("small", LARGE)
    assert len(proxy.cuts) < 2
    proxy.cuts.extend([Cut(2**22, sending=True)] * 2)
    blobs.put_file("large", path, "hash")
    assert not proxy.cuts
    proxy.cuts.extend([Cut(2**20), Cut(2**20)])
    assert blobs.get("small") == LARGE
    assert hashlib.sha256(blobs.get("large")).digest() == hashlib.sha256(path.read_bytes()).digest()
    assert not proxy.cuts
    assert blobs.stored_sha256("large") == "hash"
    assert list(blobs.list()) == ["large", "small"]


def test_a_line_that_stays_down_leaves_what_was_there(s3, proxy, hurried):
    ObjectBlobs(s3).put("a", b"old")
    proxy.is_down = True
    blobs = ObjectBlobs(s3)
    with pytest.raises(StoreError, match="cannot be reached"):
        blobs.put("a", LARGE)
    proxy.is_down = False
    assert blobs.get("a") == b"old"
