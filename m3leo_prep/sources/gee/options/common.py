"""Choices that products, collections and scripts have in common: kernel and statistic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, replace
from typing import TYPE_CHECKING, Any, cast, get_args

from m3leo_prep.core.defaults import ONE_ITEM, check_method, check_statistic, default_statistic
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Statistic
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.text import near
from m3leo_prep.sources.gee.choice import Kernel, Mode, Quantity

if TYPE_CHECKING:
    from m3leo_prep.sources.gee.source import EarthEngine

METHODS: Mapping[Kernel, tuple[str, float]] = {
    "nearest": ("nearest", 1.0),
    "bilinear": ("bilinear", 0.25),
    "bicubic": ("cubic", 0.41),
}
"""Of Earth Engine's kernels: our name of the warp method, and the least noise gain (half-way between four pixels;
bicubic with a = -0.5). The largest is 1, on a pixel's centre."""
STATISTICS: tuple[str, ...] = get_args(Statistic)
LOCAL_ONLY = frozenset({"medoid", "least_cloudy"})
"""Statistics of single images, which are made here."""
CODES = frozenset({Kind.CLASSES, Kind.BITS})


def refuse(source: EarthEngine, keys: Iterable[str], why: str) -> None:
    """Raise ConfigError if the recipe says one of ``keys``."""
    defaults = type(source).__dataclass_fields__
    for key in keys:
        field = defaults[key]
        default = field.default if field.default_factory is MISSING else field.default_factory()
        said = getattr(source, key)
        if (tuple(said) if isinstance(said, list) else said) != default:
            raise ConfigError(f"{key}: {why}")


def check_year(year: Any) -> None:
    """Raise ConfigError if ``year:`` is said and is no number of a year."""
    if year is not None and type(year) is not int:
        raise ConfigError(f"year: {year!r} is not a year", hint="write it as a number, such as 2020")


def kernel_of(given: str, own: Kernel, quantities: Sequence[Quantity], mode: Mode) -> Kernel:
    """Return the kernel by which images are resampled on Earth Engine's side.

    Raises:
        ConfigError: unknown; makes numbers without meaning; or nothing is resampled there.
    """
    if given and mode == "native":
        raise ConfigError(
            "kernel: its images come in their own pixels and are resampled here",
            hint="say `resampling:` of the layer",
        )
    if given and given not in METHODS:
        raise ConfigError(f"kernel: Earth Engine has no '{given}'", hint=near(given, METHODS))
    kernel = cast("Kernel", given or own)
    if mode != "native":
        for one in _main(quantities):
            check_method(one.variable.kind, METHODS[kernel][0], where=f"kernel: {one.variable.name}")
    return kernel


def statistic_of(given: str, quantities: Sequence[Quantity], mode: Mode) -> Statistic:
    """Return how the images of a slot become one.

    Raises:
        ConfigError: unknown, or an average of what has none.
    """
    statistic = given or default_statistic(_main(quantities)[0].variable.kind, is_static=False)
    if statistic not in STATISTICS:
        raise ConfigError(f"statistic: '{statistic}' is not known", hint=near(str(statistic), STATISTICS))
    if mode != "native":
        if statistic in LOCAL_ONLY:
            raise ConfigError(
                f"statistic: Earth Engine's side has no '{statistic}'",
                hint="`composite: local` brings single images, at many times the bytes; or choose another statistic",
            )
        for one in _main(quantities):
            check_statistic(one.variable.kind, cast("Statistic", statistic), where=f"statistic: {one.variable.name}")
    return cast("Statistic", statistic)


def told(
    quantities: Sequence[Quantity], mode: Mode, kernel: Kernel, statistic: Statistic, about: Mapping[str, Any]
) -> tuple[Quantity, ...]:
    """Return the quantities whose variables say how their pixels come about; codes beside values are never mixed."""
    main = _main(quantities)
    found = []
    for one in quantities:
        made: dict[str, Any] = {}
        method = ""
        if mode != "native":
            own: Kernel = kernel if one in main else "nearest"
            method, gain = METHODS[own]
            made = {
                "provider_kernel": own,
                "kernel_noise_gain": [gain, 1.0],
                "provider_statistic": statistic if one in main or statistic in ONE_ITEM else "first",
            }
        attributes = {**one.variable.attributes, **made, **about}
        found.append(replace(one, variable=replace(one.variable, kernel=method, attributes=attributes)))
    return tuple(found)


def _main(quantities: Sequence[Quantity]) -> list[Quantity]:
    """Return the quantities that kernel and statistic are meant for: codes only where there is nothing else."""
    values = [one for one in quantities if one.variable.kind not in CODES]
    return values or list(quantities)
