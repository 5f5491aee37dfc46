"""Views of interferometric phase: without its arbitrary constant, as cosine and sine, or as displacement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.text import near
from m3leo_prep.reader.learning.transforms.base import Sample, Transform, known
from m3leo_prep.reader.learning.transforms.info import KeyInfo, Keys

if TYPE_CHECKING:
    from torch import Tensor

View = Literal["raw", "rereferenced", "wrapped", "displacement"]
VIEWS = ("raw", "rereferenced", "wrapped", "displacement")
Reference = Literal["median"] | tuple[int, int]
Sign = Literal["positive towards the sensor", "positive away from the sensor"]
WAVELENGTH_M = 0.05546576
"""Of Sentinel-1: speed of light / 5.405 GHz."""
_SIGNS = {"positive towards the sensor": 1.0, "positive away from the sensor": -1.0}


class PhaseView(Transform):
    """Shows unwrapped phase as something else, in place.

    It starts from what is read, which ``ChipDataset(phase=...)`` chooses: phase counted from the reference that the
    dataset keeps of each chip and pair, unless that says ``raw``. ``raw``: as stored, rad, with the arbitrary constant
    of each pair. ``rereferenced``: minus its value at a reference, pair by pair. ``wrapped``: its cosine and sine, two
    channels (``<band>_cos``, ``<band>_sin``) in the place of each. ``displacement``: metres along the line of sight
    since the earlier date, positive towards the sensor; of what lies there, atmosphere and errors included. Connected
    components may differ by multiples of 2 pi, which only ``wrapped`` removes.
    """

    def __init__(
        self,
        key: str,
        view: View,
        *,
        reference: Reference | None = None,
        coherence: str | None = None,
        min_coherence: float = 0.7,
        wavelength_m: float | None = None,
        sign: Sign | None = None,
    ) -> None:
        """Choose the view.

        Args:
            key: of the phase.
            view: ``raw``, ``rereferenced``, ``wrapped`` or ``displacement``.
            reference: what becomes 0: the ``median`` of the valid pixels of chip and pair (of ``rereferenced`` the
                default), or a pixel (row, column). A pair that is not valid there is missing as a whole. None =
                displacement keeps the constant of what is read.
            coherence: key on the same lattice; the median then is of pixels of at least ``min_coherence`` only.
            min_coherence: see there.
            wavelength_m: None = as the layer says (0.05546576 of Sentinel-1).
            sign: which way phase counts; None = as the layer says.
        """
        self.key, self.view = key, view
        self.reference: Reference | None = reference
        self.coherence, self.min_coherence = coherence, min_coherence
        self.wavelength_m, self.sign = wavelength_m, sign

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return it, and the keys with what the view is.

        Raises:
            ConfigError: the key is no unwrapped phase in rad, or it is not known what its numbers mean.
        """
        info = known(self.key, keys, "PhaseView")
        check_view(self.view)
        fitting = {Kind.UNWRAPPED_PHASE} | ({Kind.WRAPPED_PHASE} if self.view in {"raw", "wrapped"} else set())
        if info.kind not in fitting:
            what = f"the {info.phase} view of a phase" if info.phase else info.kind
            raise ConfigError(f"'{self.key}' is {what}, of which there is no view '{self.view}'")
        if info.is_normalized:
            hint = f"ChipDataset(phase='{self.view}'), or `normalize`: {{key: (mean, std)}} of the other keys"
            raise ConfigError(f"'{self.key}' is normalised, so it is no phase in rad any more", hint=hint)
        if self.view == "raw" and info.phase == "rereferenced":
            raise ConfigError(
                f"'{self.key}' is counted from each chip's reference already", hint="ChipDataset(phase='raw')"
            )
        if self.coherence is not None:
            other = known(self.coherence, keys, "PhaseView")
            if other.kind != Kind.COHERENCE or other.is_normalized:
                hint = "name coherence that is not normalised"
                raise ConfigError(f"'{self.coherence}' cannot say where '{self.key}' is reliable", hint=hint)
        if self.view == "displacement":
            self._metres(info)
        return self._knowing(keys), {**keys, self.key: seen(info, self.view, self.key)}

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample with this view of the phase.

        Raises:
            ConfigError: the reference lies outside, or the coherence has another shape.
        """
        made = dict(sample)
        phase, mask = sample[self.key], sample[f"{self.key}_mask"]
        reference = "median" if self.view == "rereferenced" and self.reference is None else self.reference
        if reference is not None and self.view in {"rereferenced", "displacement"}:
            phase, mask = rereferenced(phase, mask, reference, self._reliable(sample, mask))
        if self.view == "wrapped":
            phase, mask = cos_sin(phase, mask)
        elif self.view == "displacement":
            phase = phase * self._metres(self.keys[self.key])
        made[self.key], made[f"{self.key}_mask"] = phase.masked_fill(~mask, 0), mask
        return made

    def _metres(self, info: KeyInfo) -> float:
        return metres_towards_sensor(self.key, info.unit, info.attributes, self.wavelength_m, self.sign)

    def _reliable(self, sample: Mapping[str, Any], mask: Tensor) -> Tensor | None:
        if self.coherence is None:
            return None
        reliable: Tensor = (sample[self.coherence] >= self.min_coherence) & sample[f"{self.coherence}_mask"]
        high = reliable.all(dim=-3)
        if high.shape[-2:] != mask.shape[-2:] or (high.ndim > 2 and high.shape[0] not in {1, mask.shape[0]}):
            raise ConfigError(f"'{self.coherence}' {tuple(high.shape)} does not fit '{self.key}' {tuple(mask.shape)}")
        return reliable.all(dim=-3, keepdim=True)


def check_view(view: str) -> None:
    """Raise ConfigError if there is no such view."""
    if view not in VIEWS:
        raise ConfigError(f"there is no view '{view}' of phase", hint=near(str(view), VIEWS))


def metres_towards_sensor(
    key: str,
    unit: str,
    attributes: Mapping[str, Any],
    wavelength_m: float | None = None,
    sign: str | None = None,
) -> float:
    """Return what one unit of a phase is in metres towards the sensor: wavelength / (4 pi) of a rad, 1 of a metre.

    Negative where it counts away from the sensor.

    Args:
        key: of the phase, for messages.
        unit: ``rad``, or ``m`` of phase that is stored as displacement.
        attributes: of the variable: ``wavelength_m`` and ``sign``.
        wavelength_m: in place of the attribute.
        sign: in place of the attribute.

    Raises:
        ConfigError: one of them is not known.
    """
    wavelength = attributes.get("wavelength_m") if wavelength_m is None else wavelength_m
    sign = attributes.get("sign") if sign is None else sign
    if wavelength is None and unit != "m":
        hint = f"PhaseView takes it: wavelength_m={WAVELENGTH_M} is Sentinel-1's"
        raise ConfigError(f"the wavelength of '{key}' is not known", hint=hint)
    if sign not in _SIGNS:
        hint = "PhaseView takes it: sign='positive towards the sensor' (ARIA GUNW), or '... away from the sensor'"
        raise ConfigError(f"which way the phase of '{key}' counts is not known: {sign!r}", hint=hint)
    if unit == "m":
        return _SIGNS[sign]
    assert wavelength is not None
    return _SIGNS[sign] * displacement(1.0, float(wavelength))


def seen(info: KeyInfo, view: View, key: str) -> KeyInfo:
    """Return what a phase is after a view.

    Raises:
        ConfigError: metres have no cosine.
    """
    if view == "displacement":
        return replace(info, kind=Kind.CONTINUOUS, unit="m", phase=view)
    if view == "wrapped":
        if info.unit == "m":
            hint = "take it raw, rereferenced or as displacement; or build it in rad"
            raise ConfigError(f"'{key}' is stored as displacement in metres: it cannot be wrapped", hint=hint)
        bands = tuple(f"{band}_{part}" for band in info.bands for part in ("cos", "sin"))
        return replace(info, kind=Kind.CONTINUOUS, unit="1", bands=bands, phase=view)
    return replace(info, phase=view)


def rereferenced(
    phase: Tensor, mask: Tensor, reference: Reference = "median", reliable: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return (phase, mask) with each band of each pair counted from its value at the reference.

    Args:
        phase: (..., y, x) rad, unwrapped.
        mask: likewise, True where valid.
        reference: ``median`` of the valid pixels, or the pixel (row, column). Where it is not valid, all are missing.
        reliable: broadcast to ``mask``: only these count for the median.

    Raises:
        ConfigError: the pixel lies outside.
    """
    import torch

    if isinstance(reference, str):
        usable = mask if reliable is None else mask & reliable
        # Not nanquantile, which takes 16 million numbers at most: 80 pairs of 448 x 448 pixels.
        numbers = phase.masked_fill(~usable, torch.nan).flatten(-2).sort(dim=-1).values
        n = usable.expand_as(phase).flatten(-2).sum(dim=-1, keepdim=True)
        middle = [numbers.gather(-1, place).double() for place in ((n - 1).clamp(min=0) // 2, n // 2)]
        zero = ((middle[0] + middle[1]) / 2)[..., None]
    else:
        row, col = reference
        if not (0 <= row < phase.shape[-2] and 0 <= col < phase.shape[-1]):
            raise ConfigError(f"the reference {reference} lies outside of {phase.shape[-2]} x {phase.shape[-1]} pixels")
        zero = phase[..., row, col].double().masked_fill(~mask[..., row, col], torch.nan)[..., None, None]
    there = mask & zero.isfinite()
    return (phase - zero.nan_to_num(0)).float().masked_fill(~there, 0), there


def cos_sin(phase: Tensor, mask: Tensor, out: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Return (values, mask) float32 and bool (..., 2 band, y, x): cosine and sine of each band, 0 where missing.

    Args:
        phase: (..., band, y, x) rad.
        mask: likewise, True where valid.
        out: tensors of the result to write into.
    """
    import torch

    *lead, bands, height, width = phase.shape
    if out is None:
        shape = (*lead, 2 * bands, height, width)
        out = torch.empty(shape, dtype=torch.float32), torch.empty(shape, dtype=torch.bool)
    values, valid = (one.view(*lead, bands, 2, height, width) for one in out)
    valid.copy_(mask.unsqueeze(-3))
    torch.stack([phase.cos(), phase.sin()], dim=-3, out=values)
    values.masked_fill_(~valid, 0)
    return out


def displacement(phase: float, wavelength_m: float = WAVELENGTH_M) -> float:
    """Return metres towards the sensor of phase that is positive towards it: phi * wavelength / (4 pi)."""
    return phase * (wavelength_m / (4 * math.pi))
