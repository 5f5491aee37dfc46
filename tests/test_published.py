"""The whole way: a dataset is published, streamed, and a model trains on it, while things go wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import m3leo_prep as mp
from m3leo_prep.publish import publish
from m3leo_prep.testing import hub as faults
from m3leo_prep.testing.proxy import Cut, FaultProxy
from tests.pipeline.conftest import built  # noqa: F401  a fixture

torch = pytest.importorskip("torch")

BANDS = {"s1": ["vv_desc", "vh_desc"]}
"""Those that have data in the little dataset."""


@pytest.fixture
def _small_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is kept, so that every epoch asks for every chip."""
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("M3LEO_PREP_CACHE_GB", "0")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    from m3leo_prep.blobs import http
    from m3leo_prep.publish.targets import patience

    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.001)


def train(location: str, between: Callable[[int], object]) -> list[float]:
    """Return the mean loss of each of two epochs of a small segmentation of land cover."""
    chips = mp.ChipDataset(location, layers=["s1"], labels=["landcover"], bands=BANDS, normalize=True)
    sampler = mp.ChipSampler(chips, seed=3)
    loader = torch.utils.data.DataLoader(chips, batch_size=2, sampler=sampler, collate_fn=mp.collate)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 256, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses, seen = [], []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        between(epoch)
        for batch in loader:
            seen += batch["chip_id"]
            scores = model(batch["s1"].flatten(1, 2))
            loss = torch.nn.functional.cross_entropy(scores, batch["landcover"][:, 0], ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert sorted(seen) == sorted(chips.ids * 2)
    half = len(losses) // 2
    return [float(np.mean(losses[:half])), float(np.mean(losses[half:]))]


def shards(dataset: Path) -> list[str]:
    table = mp.Dataset(dataset).shards
    return table["path"][table["bytes"] > 0].tolist()


@pytest.mark.usefixtures("_small_cache")
def test_publish_stream_train_over_the_hub(built: Path, tmp_path: Path, hub: Any) -> None:  # noqa: F811
    shutil.copytree(built, dataset := tmp_path / "mini")
    hub.faults(faults.rate_limited(0), "commit")
    hub.faults(faults.lost(), "commit")
    hub.faults(faults.reset(), "lfs_put")
    done = publish(dataset, "me/mini", private=True)
    assert done.url.startswith("hf://datasets/me/mini")

    def break_things(epoch: int) -> None:
        if epoch:
            hub.expire()
            hub.faults(faults.cut(100), "cdn", times=2)
            hub.faults(faults.broken(500), "cdn")

    assert train("hf://datasets/me/mini", break_things) == train(str(dataset), lambda _: None)


@pytest.mark.usefixtures("_small_cache")
def test_publish_stream_train_over_s3(
    built: Path,  # noqa: F811
    tmp_path: Path,
    s3: str,
    s3_server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(built, dataset := tmp_path / "mini")
    server = urlsplit(s3_server.endpoint)
    with FaultProxy(server.hostname or "", server.port or 0) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.port}")
        line.cuts.extend(Cut(after, sending=True) for after in (2_000, 20_000, 5_000))
        publish(dataset, f"{s3}/mini")
        assert not line.cuts

        def break_things(epoch: int) -> None:
            line.cuts.extend(Cut(3_000) for _ in range(3 * epoch))

        losses = train(f"{s3}/mini", break_things)
        assert not line.cuts
    assert losses == train(str(dataset), lambda _: None)
    assert losses[1] < losses[0]
