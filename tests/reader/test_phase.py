"""Views of phase: closed forms, and interferograms of the synthetic Earth."""

from __future__ import annotations

import math
from textwrap import dedent

import numpy as np
import pytest
import shapely

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads

torch = pytest.importorskip("torch")

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.phase import cos_sin, displacement, rereferenced  # noqa: E402  as above
from m3leo_prep.reader.learning.transforms.info import KeyInfo, key_info  # noqa: E402  as above
from m3leo_prep.transforms import ChannelMask, Compose, PhaseView  # noqa: E402  as above

ABOUT = {"wavelength_m": 0.05546576, "sign": "positive towards the sensor"}
RECIPE = """
name: pairs
grid: {chip_px: 32, resolution: 40}
layers:
  insar: {source: synthetic, product: unwrapped, missing: 0, resolution: 80, resampling: nearest,
          slots: {periods: [[2020-06-01, 2020-06-12], [2020-07-07, 2020-07-18]]}}
"""


def ramp():
    """Return (2, 1, 4, 4) phases of two pairs with constants of their own."""
    base = torch.arange(16, dtype=torch.float32).reshape(1, 4, 4)
    return torch.stack([base + 100, 2 * base - 40])


def info(kind=Kind.UNWRAPPED_PHASE, bands=("phase",), attributes=ABOUT, unit="rad", **more):
    return KeyInfo(kind, unit, bands, 80.0, 4, False, False, "input", "none", attributes=attributes, **more)


def test_wrapped_phase_is_cosine_and_sine_of_each_band_and_nothing_where_missing():
    phase = torch.linspace(-40, 40, 2 * 3 * 5 * 5).reshape(2, 3, 5, 5)
    mask = torch.ones_like(phase, dtype=torch.bool)
    mask[0, 1, 2, 2] = False
    made, there = cos_sin(phase, mask)
    assert made.shape == there.shape == (2, 6, 5, 5)
    assert (made.dtype, there.dtype) == (torch.float32, torch.bool)
    expected = np.stack([np.cos(phase.numpy()), np.sin(phase.numpy())], axis=2).reshape(2, 6, 5, 5)
    expected[0, 2:4, 2, 2] = 0
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert not there[0, 2:4, 2, 2].any()
    assert there.sum() == there.numel() - 2


def test_displacement_is_half_a_wavelength_a_turn_and_towards_the_sensor_is_positive():
    metres = [displacement(phase) for phase in (1.0, 2 * math.pi, -2 * math.pi)]
    np.testing.assert_allclose(metres, [4.4138e-3, 0.02773288, -0.02773288], rtol=1e-5)


def test_each_pair_is_counted_from_its_own_median():
    phase, mask = ramp(), torch.ones(2, 1, 4, 4, dtype=torch.bool)
    mask[0, 0, 0] = False
    made, there = rereferenced(phase, mask)
    np.testing.assert_array_equal(there, mask)
    for pair in range(2):
        valid = phase[pair][mask[pair]].numpy()
        np.testing.assert_allclose(made[pair][mask[pair]], valid - np.median(valid), rtol=1e-6)
    assert (made[0, 0, 0] == 0).all()


def test_a_reference_pixel_becomes_zero_or_the_pair_is_missing():
    phase, mask = ramp(), torch.ones(2, 1, 4, 4, dtype=torch.bool)
    mask[1, 0, 1, 2] = False
    made, there = rereferenced(phase, mask, (1, 2))
    assert made[0, 0, 1, 2] == 0
    np.testing.assert_array_equal(made[0, 0], phase[0, 0] - 106)
    assert there[0].all()
    assert not there[1].any()
    assert (made[1] == 0).all()
    with pytest.raises(ConfigError, match="lies outside"):
        rereferenced(phase, mask, (4, 0))


def test_the_median_may_be_of_coherent_pixels_only():
    keys = {"insar": info(), "coh": info(Kind.COHERENCE, ("coh12",))}
    coherence = torch.zeros(2, 1, 4, 4)
    coherence[0, 0, 3] = 0.9
    sample = {
        "insar": ramp(),
        "insar_mask": torch.ones(2, 1, 4, 4, dtype=torch.bool),
        "coh": coherence,
        "coh_mask": coherence >= 0,
    }
    view = PhaseView("insar", "rereferenced", coherence="coh").bind(keys)[0](sample)
    np.testing.assert_allclose(view["insar"][0], ramp()[0] - (100 + 13.5))
    # Nothing is coherent in the second pair: it has no reference.
    assert not view["insar_mask"][1].any()
    one_slot = sample | {"coh": coherence[:1, :, :2, :2], "coh_mask": coherence[:1, :, :2, :2] >= 0}
    with pytest.raises(ConfigError, match="does not fit"):
        PhaseView("insar", "rereferenced", coherence="coh").bind(keys)[0](one_slot)


def test_a_view_says_what_it_is_to_later_transforms():
    _, after = Compose([PhaseView("insar", "displacement"), ChannelMask({"insar": ["phase"]})]).bind({"insar": info()})
    assert (after["insar"].unit, after["insar"].kind) == ("m", "continuous")
    wrapped = PhaseView("insar", "wrapped").bind({"insar": info()})[1]["insar"]
    assert (wrapped.kind, wrapped.unit, wrapped.bands) == ("continuous", "1", ("phase_cos", "phase_sin"))


@pytest.mark.parametrize(
    ("view", "key", "message"),
    [
        (PhaseView("insar", "sideways"), info(), "no view 'sideways'"),
        (PhaseView("insar", "raw"), info(phase="rereferenced"), "counted from each chip's reference already"),
        (PhaseView("insar", "wrapped"), info(unit="m"), "stored as displacement"),
        (PhaseView("insar", "displacement"), info(Kind.WRAPPED_PHASE), "no view 'displacement'"),
        (PhaseView("insar", "wrapped"), info(Kind.POWER), "no view 'wrapped'"),
        (PhaseView("insar", "displacement"), info(attributes={"sign": ABOUT["sign"]}), "wavelength"),
        (PhaseView("insar", "displacement"), info(attributes={"wavelength_m": 0.05}), "counts is not known"),
        (PhaseView("insar", "displacement"), info(attributes=ABOUT | {"sign": "up"}), "counts is not known"),
        (PhaseView("insar", "rereferenced"), info(mean=np.zeros(1), std=np.ones(1)), "is normalised"),
        (PhaseView("insar", "rereferenced", coherence="insar"), info(), "cannot say where"),
        (PhaseView("other", "raw"), info(), "which is not read"),
    ],
)
def test_numbers_that_mean_something_else_are_refused(view, key, message):
    with pytest.raises(ConfigError, match=message):
        view.bind({"insar": key})


def test_the_sign_of_away_is_turned_round():
    sample = {"insar": ramp(), "insar_mask": ramp() > -1e9}
    away = PhaseView("insar", "displacement", sign="positive away from the sensor").bind({"insar": info()})[0](sample)
    np.testing.assert_allclose(away["insar"], -ramp() * 0.05546576 / (4 * math.pi), rtol=1e-6)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("phase") / "pairs"
    area = Area.from_geometry(shapely.box(9.300, 57.100, 9.330, 57.110), name="here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(make_plan(parse_recipe(dedent(RECIPE)), area, base=path.parent), path, runner=Threads(2))
    return path


def test_views_of_synthetic_interferograms(pairs):
    raw = ChipDataset(pairs, layers=["insar"], phase="raw")
    views = {
        view: ChipDataset(raw.datasets[0], layers=["insar"], phase="raw", transform=PhaseView("insar", view))
        for view in ("raw", "rereferenced", "wrapped", "displacement")
    }
    assert key_info(raw)["insar"].attributes["sign"] == ABOUT["sign"]
    seen = 0
    for n, sample in enumerate(raw):
        phase, mask = sample["insar"].numpy(), sample["insar_mask"].numpy()
        seen += mask.sum()
        found = {view: chips[n]["insar"].numpy() for view, chips in views.items()}
        np.testing.assert_array_equal(found["raw"], phase)
        np.testing.assert_allclose(found["displacement"], phase * 0.05546576 / (4 * np.pi), rtol=1e-5)
        unit = np.where(mask[:, 0], np.exp(1j * phase[:, 0].astype(np.float64)), 0)
        np.testing.assert_allclose(found["wrapped"], np.stack([unit.real, unit.imag], axis=1), atol=1e-4)
        for pair in range(len(phase)):
            if mask[pair].any():
                median = np.median(phase[pair][mask[pair]])
                expected = np.where(mask[pair], phase[pair] - median, 0)
                np.testing.assert_allclose(found["rereferenced"][pair], expected, atol=1e-4)
    assert seen > 1000
