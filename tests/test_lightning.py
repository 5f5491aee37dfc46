"""Training with Lightning: one run and an interrupted one see the same chips; Hydra makes the module."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.core.raster import Kind
from m3leo_prep.testing.layers import make_array, make_layer
from tests.reader.conftest import write_dataset

torch = pytest.importorskip("torch")
pl = pytest.importorskip("lightning.pytorch")

from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402  as above

from m3leo_prep.lightning import ChipDataModule  # noqa: E402  it imports both
from m3leo_prep.reader.learning.sampler import ChipSampler  # noqa: E402  as above
from m3leo_prep.transforms import RandomFlip  # noqa: E402  as above

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*litlogger"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
SPLITS = ["train"] * 13 + ["val"] * 3 + ["test"] * 3 + ["buffer"]
HYDRA = """
_target_: m3leo_prep.lightning.ChipDataModule
root: ${root}
layers: [s1]
labels: [cover]
batch_size: 4
bands: {s1: [vh]}
normalize: {s1: [-12.0, 5.0]}
slots: {s1: [2020-02]}
seed: 3
transform:
  _target_: m3leo_prep.transforms.Compose
  transforms:
    - {_target_: m3leo_prep.transforms.RandomCrop, pixels: 4}
    - {_target_: m3leo_prep.transforms.RandomFlip, horizontal: 0.5}
    - {_target_: m3leo_prep.transforms.ModalityDropout, p: {s1: 0.5}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    layers = [
        make_layer(make_array(), name="s1", n_slots=2, shard_slots=2),
        make_layer(make_array("map", Kind.CLASSES, ("map",)), name="cover"),
    ]
    return write_dataset(tmp_path_factory.mktemp("lightning") / "d", layers, n_chips=20, split=SPLITS).path


class Model(pl.LightningModule):
    """A linear map of the mean backscatter, that remembers which chips it saw."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.seen, self.validated, self.tested = [], [], []

    def forward(self, batch):
        return self.layer(batch["s1"].mean(dim=(1, 3, 4)))

    def training_step(self, batch, _):
        self.seen.append(batch["chip_id"])
        return self(batch).square().mean()

    def validation_step(self, batch, _):
        self.validated.append(batch["chip_id"])

    def test_step(self, batch, _):  # noqa: PT019  Lightning's name
        self.tested += batch["chip_id"]

    def predict_step(self, batch, _):
        return batch["chip_id"], self(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-4)


def trainer(folder, **options):
    about = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
    about |= {"enable_model_summary": False, "default_root_dir": folder, "enable_checkpointing": False}
    return pl.Trainer(**(about | options))


def module(root, **options):
    return ChipDataModule(root, ["s1"], **({"batch_size": 4, "normalize": {"s1": (-12.0, 5.0)}, "seed": 1} | options))


def test_fitting_testing_and_predicting(root, tmp_path):
    data, model = module(root, transform=RandomFlip(), drop_last=False), Model()
    run = trainer(tmp_path, max_epochs=2)
    run.fit(model, data)
    epochs = [list(itertools.chain(*model.seen[k : k + 4])) for k in (0, 4)]
    train = [f"c{row:03d}" for row in range(13)]
    assert [sorted(epoch) for epoch in epochs] == [train, train]
    sampler = run.train_dataloader.sampler
    assert epochs == [[data.chips["train"].ids[k] for k in sampler.order(epoch)] for epoch in (0, 1)]
    assert epochs[0] != epochs[1]
    assert model.validated[-1] == ["c013", "c014", "c015"]
    run.test(model, data, verbose=False)
    assert model.tested == ["c016", "c017", "c018"]
    predicted = run.predict(model, data)
    assert list(itertools.chain(*(ids for ids, _ in predicted))) == [f"c{row:03d}" for row in range(20)]
    assert "turned" not in data.chips["val"][0]
    assert "turned" in data.chips["train"][0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_cut_in_an_epoch_goes_on_with_the_batches_to_come(root, tmp_path, workers):
    whole = Model()
    trainer(tmp_path, max_epochs=3).fit(whole, module(root, num_workers=workers))
    assert len(whole.seen) == 3 * 3
    saved = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    cut = Model()
    run = trainer(tmp_path, max_epochs=2, enable_checkpointing=True, callbacks=[saved])
    run.fit(cut, module(root, num_workers=workers))
    assert cut.seen == whole.seen[:6]
    for step in (4, 5)[: 1 if workers else 2]:
        again = Model()
        where = tmp_path / f"step={step}.ckpt"
        data = module(root, num_workers=workers)
        trainer(tmp_path, max_epochs=3).fit(again, data, ckpt_path=where, weights_only=False)
        assert again.seen == whole.seen[step:]


def test_a_run_that_was_cut_between_epochs_goes_on_with_the_next(root, tmp_path):
    whole, cut, again = Model(), Model(), Model()
    trainer(tmp_path, max_epochs=3).fit(whole, module(root))
    run = trainer(tmp_path, max_epochs=1)
    run.fit(cut, module(root))
    run.save_checkpoint(tmp_path / "cut.ckpt")
    trainer(tmp_path, max_epochs=3).fit(again, module(root), ckpt_path=tmp_path / "cut.ckpt", weights_only=False)
    assert cut.seen + again.seen == whole.seen


def test_hydra_makes_the_module(root):
    hydra = pytest.importorskip("hydra")
    from omegaconf import OmegaConf

    data = hydra.utils.instantiate(OmegaConf.create(HYDRA.replace("${root}", str(root))))
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["s1"].shape == (4, 1, 1, 4, 4)
    assert batch["cover"].shape == (4, 1, 4, 4)
    assert batch["s1_present"].dtype == torch.bool
    assert set(data.chips) == {"train", "val"}


def test_a_region_that_is_held_out_is_only_tested_on(root):
    data = module(root, hold_out={"lon": [0.05, 1.05]}, test_split=None)
    data.setup()
    assert data.chips["test"].ids == ["c000", "c001"]
    assert data.chips["train"].ids == [f"c{row:03d}" for row in range(2, 13)]
    assert len(data.chips["predict"]) == 20
    with pytest.raises(ConfigError, match=r"(?s)no chip for test.*test_split=None: all"):
        module(root, hold_out={"lon": [0.05]}).setup("test")
    with pytest.raises(ConfigError, match=r"(?s)no chip for val.*val_split=None does without"):
        module(root, hold_out={"lon": [13.05, 14.05, 15.05]}).setup("validate")


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_a_module_without_validation_and_with_few_chips(root, tmp_path):
    model = Model()
    data = module(root, val_split=None, batch_size=50)
    trainer(tmp_path, max_epochs=1).fit(model, data)
    # Less than one batch: it is not dropped.
    assert len(model.seen) == 1
    assert not model.validated


def test_each_device_of_a_trainer_gets_its_share(root):
    """What a strategy of four devices says, without four devices."""
    dealt = []
    for rank in range(4):
        data = module(root, even=None, batch_size=1)
        data.trainer = Strategy({"num_replicas": 4, "rank": rank})
        data.setup("fit")
        loader = data.train_dataloader()
        assert isinstance(loader.sampler, ChipSampler)
        assert isinstance(loader.sampler, torch.utils.data.DistributedSampler)
        dealt += [chip for batch in loader for chip in batch["chip_id"]]
    assert sorted(dealt) == [f"c{row:03d}" for row in range(13)]


class Strategy:
    def __init__(self, kwargs):
        self.distributed_sampler_kwargs = kwargs


def test_numbers_that_make_no_sense_are_refused(root):
    for options in ({"batch_size": 0}, {"num_workers": -1}):
        with pytest.raises(ConfigError, match="at least"):
            module(root, **options)
    data = module(root, balance="cover")
    data.setup("fit")
    with pytest.raises(ConfigError, match="no proportions"):
        data.train_dataloader()


def test_without_lightning_the_line_to_install_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.delitem(sys.modules, "m3leo_prep.lightning")
    with pytest.raises(MissingDependency, match="needs Lightning") as raised:
        importlib.import_module("m3leo_prep.lightning")
    assert raised.value.hint == "pip install 'm3leo-prep[lightning]'"


def test_normalisation_and_paths_are_handed_on(root):
    data = ChipDataModule([Path(root), str(root)], ["s1"], normalize=False, num_workers=0)
    data.setup("validate")
    assert len(data.chips["val"]) == 6
    values = data.chips["val"][0]["s1"]
    plain = data.chips["val"].datasets[0].read("c013", "s1")
    np.testing.assert_array_equal(values, np.where(plain[1], plain[0], 0))
