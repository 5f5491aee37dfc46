"""What every transform is: a picklable callable on one sample that knows what its keys are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, Self

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.reader.learning.transforms.info import KeyInfo, Keys

Sample = dict[str, Any]


# Plain classes: Hydra turns dataclasses that stand in a list into configurations.
class Transform:
    """A callable on a sample. ``ChipDataset(transform=...)`` tells it the keys; elsewhere ``bind`` does."""

    _keys: Keys | None = None

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return the transform that knows these keys, and what the keys are after it.

        Raises:
            ConfigError: it cannot be applied to them.
        """
        return self._knowing(keys), keys

    @property
    def keys(self) -> Keys:
        """What the keys of the sample are.

        Raises:
            ConfigError: nobody has told yet.
        """
        if self._keys is None:
            raise ConfigError(
                f"{type(self).__name__} does not know what the keys of a sample are",
                hint="give it to ChipDataset(transform=...), or take `transform.bind(key_info(chips))[0]`",
            )
        return self._keys

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample, transformed."""
        raise NotImplementedError

    def __repr__(self) -> str:
        options = (f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({', '.join(options)})"

    def _knowing(self, keys: Keys) -> Self:
        """Return a copy that knows the keys."""
        made = copy(self)
        vars(made)["_keys"] = keys
        return made


class Compose(Transform):
    """Transforms one after the other; plain functions on samples may stand among them."""

    def __init__(self, transforms: Sequence[Callable[[Sample], Sample]]) -> None:
        self.transforms = tuple(transforms)

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return with each transform bound to what the ones before it leave."""
        made: list[Callable[[Sample], Sample]] = []
        after = keys
        for one in self.transforms:
            bound, after = one.bind(after) if isinstance(one, Transform) else (one, after)
            made.append(bound)
        chain = self._knowing(keys)
        chain.transforms = tuple(made)
        return chain, after

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample after all of them."""
        for one in self.transforms:
            sample = one(sample)
        return sample


def bound(transform: Callable[[Sample], Sample] | None, keys: Keys) -> Callable[[Sample], Sample] | None:
    """Return the transform, told what the keys are if it is one that asks."""
    return transform.bind(keys)[0] if isinstance(transform, Transform) else transform


def known(name: str, keys: Keys, what: str) -> KeyInfo:
    """Return what a key is.

    Raises:
        ConfigError: it is not read.
    """
    if name not in keys:
        raise ConfigError(f"{what} names '{name}', which is not read here", hint=near(name, keys))
    return keys[name]


def inputs(keys: Keys, chosen: Sequence[str] | None, what: str) -> list[str]:
    """Return the keys that were chosen, or all that are no labels.

    Raises:
        ConfigError: one is not read, or there is none.
    """
    if isinstance(chosen, str):
        raise ConfigError(f"{what} takes a list of keys, not '{chosen}'")
    names = [name for name, info in keys.items() if info.role != "label"] if chosen is None else list(chosen)
    for name in names:
        known(name, keys, what)
    if not names:
        raise ConfigError(f"{what} has no key to work on", hint="all that is read are labels: name keys yourself")
    return names


def choices(mapping: Mapping[str, Sequence[str]], keys: Keys, what: str) -> dict[str, list[int]]:
    """Return the places of bands by key.

    Raises:
        ConfigError: a key or a band is not read.
    """
    found = {}
    for name, bands in mapping.items():
        info = known(name, keys, what)
        unknown = [band for band in bands if band not in info.bands]
        if unknown or isinstance(bands, str) or not bands:
            named = unknown[0] if unknown and not isinstance(bands, str) else bands
            raise ConfigError(f"'{name}' has no band {named!r}", hint=near(str(named), info.bands))
        found[name] = [info.bands.index(band) for band in bands]
    return found
