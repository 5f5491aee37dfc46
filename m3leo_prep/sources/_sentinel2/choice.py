"""What a recipe's layer asks of Sentinel-2, with every choice made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind, SourceInfo, Variable
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of
from m3leo_prep.sources._sentinel2.bands import Band, Level, choose_bands
from m3leo_prep.sources._sentinel2.clouds import LEGEND, Clouds, choose_clouds

VERSION = "1"
"""Bumped when the same images would give other pixels."""
LICENCE = "Copernicus Sentinel data terms (free, full and open)"
CITATION = "Contains modified Copernicus Sentinel data"
REFLECTANCE = "reflectance"
SCL, AEROSOL, VAPOUR, CLOUDY = "SCL", "AOT", "WVP", "CLDPRB"
"""Files beside the bands, by the part of their names that says what they hold."""
PROBABLE = "cloud_probability"
"""Has no number for no data: a probability of 0 is stored there. ``SCL`` tells them apart."""
BESIDE = {"scl": SCL, "aot": AEROSOL, "wvp": VAPOUR, PROBABLE: CLOUDY}
"""By variable of Level-2A, its file; pixels of 20 m."""
MASKED = (REFLECTANCE, "aot", "wvp")
"""Variables whose pixels the cloud rule discards."""
PITCH_BESIDE = 20
_RULE_FILE = {"scl": SCL, "probability": CLOUDY}
_LEVELS: dict[Level, str] = {"2A": "Surface reflectance", "1C": "Top-of-atmosphere reflectance"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A layer of a recipe."""

    level: Level
    variables: tuple[str, ...]
    bands: tuple[Band, ...]
    """Of ``reflectance``."""
    clouds: Clouds
    coarse: Literal["nearest", "bilinear"]
    """How bands are brought to the finest pixels among those that were chosen."""

    @property
    def mask(self) -> str:
        """The file that the cloud rule reads; empty if it reads none."""
        return _RULE_FILE.get(self.clouds.rule, "") if any(name in MASKED for name in self.variables) else ""

    def mask_of(self, variable: str) -> str:
        """Return the file that says which pixels of a variable are discarded, or hold no data; empty if none does."""
        return SCL if variable == PROBABLE else self.mask if variable in MASKED else ""

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are read of an image, as ``granules`` names them: ``B04``, ``SCL`` ..."""
        bands = [band.code for band in self.bands] if REFLECTANCE in self.variables else []
        beside = [BESIDE[name] for name in self.variables if name != REFLECTANCE]
        masks = [mask for mask in map(self.mask_of, self.variables) if mask]
        return tuple(dict.fromkeys([*bands, *beside, *masks]))

    def describe(self, *, dear_blocks: bool, concurrent_reads: int, source: str, negative: str = "kept") -> SourceInfo:
        """Return variables, their attributes and limits.

        Args:
            dear_blocks: the files are JPEG 2000.
            concurrent_reads: see ``SourceInfo``.
            source: name of the catalogue and collection, for the attributes.
            negative: what became of reflectance below 0 in the files, for the attributes.
        """
        pitches = [band.pitch for band in self.bands] if REFLECTANCE in self.variables else []
        pitch = min([*pitches, *([PITCH_BESIDE] if len(self.variables) > bool(pitches) else [])])
        return SourceInfo(
            tuple(self._variable(name, negative) for name in self.variables),
            version=VERSION,
            pitch=float(pitch),
            dear_blocks=dear_blocks,
            concurrent_reads=concurrent_reads,
            licence=LICENCE,
            citation=CITATION,
            attributes={"sentinel2": source, "level": self.level},
        )

    def _variable(self, name: str, negative: str) -> Variable:
        cloud = {"cloud_rule": self.clouds.words} if name in MASKED else {}
        match name:
            case "reflectance":
                return Variable(
                    name,
                    Kind.REFLECTANCE,
                    tuple(band.name for band in self.bands),
                    long_name=_LEVELS[self.level],
                    attributes={
                        **cloud,
                        "negative_reflectance": negative,
                        "radiometric_offset": "added once, as the processing baseline of each image asks",
                        "coarse_bands": self.coarse,
                        "band_pitch_m": [band.pitch for band in self.bands],
                    },
                )
            case "scl":
                return Variable(name, Kind.CLASSES, ("scl",), long_name="Scene classification", legend=LEGEND)
            case "aot":
                what = "Aerosol optical thickness at 550 nm"
                return Variable(name, Kind.CONTINUOUS, ("aot",), long_name=what, attributes=cloud)
            case "wvp":
                what = "Water vapour of the column"
                return Variable(name, Kind.CONTINUOUS, ("wvp",), unit="cm", long_name=what, attributes=cloud)
            case _:
                return Variable(name, Kind.CONTINUOUS, (PROBABLE,), unit="%", long_name="Cloud probability")


def choose(
    level: Level,
    *,
    bands: Any,
    variables: Any = (),
    cloud: Any = "",
    cloud_classes: Any = (),
    max_probability: Any = 50.0,
    dilate: Any = 0.0,
    max_cloud: Any = None,
    coarse_bands: Any = "nearest",
) -> Choice:
    """Return the choice that a recipe's options make.

    Raises:
        ConfigError: an option makes no sense.
    """
    names = names_of("variables", variables) or (REFLECTANCE,)
    known = (REFLECTANCE, *(BESIDE if level == "2A" else ()))
    for name in names:
        if name not in known:
            raise ConfigError(f"variables: Level-{level} has no variable '{name}'", hint=near(name, known))
    if bands and REFLECTANCE not in names:
        raise ConfigError("bands: are those of reflectance, which `variables:` leaves out")
    if coarse_bands not in ("nearest", "bilinear"):
        raise ConfigError(f"coarse_bands: {coarse_bands!r} is no way", hint="nearest or bilinear")
    return Choice(
        level,
        names,
        choose_bands(bands, level),
        choose_clouds(level, cloud, cloud_classes, max_probability, dilate, max_cloud),
        cast("Literal['nearest', 'bilinear']", coarse_bands),
    )
