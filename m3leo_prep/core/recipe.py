"""What a person asks for: the recipe, parsed from YAML with messages that name the line and the key."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from m3leo_prep.core.alternatives import spread
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Codec, Statistic
from m3leo_prep.core.text import near

MAX_DEPTH = 20
"""Levels of a recipe; an alias may make a YAML document contain itself."""
NAME = r"^[a-z][a-z0-9_]*$"
Policy = Literal["none", "blocks", "bands", "admin", "region", "random", "geetiles", "file"]
POLICIES: tuple[str, ...] = get_args(Policy)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GridModel(_Strict):
    """The chip grid: ``chip_px`` pixels of ``resolution`` metres."""

    chip_px: int = Field(448, ge=1, le=8192)
    resolution: float = Field(10.0, gt=0)
    tiling: Literal["utm", "geetiles"] = "utm"


class StorageModel(_Strict):
    """How chunks are written."""

    codec: Codec = "zstd"


class EncodingModel(_Strict):
    """Overrides of a variable's default stored form."""

    dtype: Literal["uint8", "uint16", "int16", "int32", "float32"]
    scale: float = Field(1.0, gt=0)
    fill: int | None = None
    valid_min: float | None = None
    valid_max: float | None = None


class LayerModel(BaseModel):
    """One layer: our own keys below; every other key is an option of its source."""

    model_config = ConfigDict(extra="allow", frozen=True)

    source: str
    role: Literal["input", "label"] = "input"
    slots: Any = "static"
    resolution: float | None = Field(None, gt=0)
    """Pitch of the lattice in metres; must divide the chip. Default: by the source's native pitch."""
    resampling: (
        Literal[
            "nearest",
            "bilinear",
            "cubic",
            "bspline",
            "average",
            "mode",
            "sum",
            "complex",
            "component",
            "angle",
            "bitor",
            "quadrature_bilinear",
            "quadrature_average",
        ]
        | None
    ) = None
    """Default: by the kind of quantity and the direction (table of the format page). Standard deviations take
    ``bilinear`` and ``average`` as the quadrature of the same weights."""
    statistic: Statistic | None = None
    """How several items of one slot become one value. Default: by the kind of quantity."""
    counts: bool = False
    """Besides each variable, of how many acquisitions a pixel was made: ``<variable>_count``."""
    band_chunk: int | None = Field(None, ge=1)
    codec: Codec | None = None
    """How its chunks are compressed. Default: as ``storage`` says."""
    encoding: EncodingModel | None = None
    dem: str | None = None
    """A static layer of heights in this recipe, at which the source computes what depends on the ground."""
    terrain: list[Literal["slope", "aspect"]] | None = None
    """Computed from the layer's height on the chip's lattice, after projection."""
    alternatives: dict[str, dict[str, Any]] = Field({}, exclude=True, repr=False)
    """What the layer says with each source that it lists. A dataset is built from one, which its own recipe names."""

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, value: Any) -> Any:
        return spread(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _each_source(self) -> Self:
        for source in self.alternatives:
            try:
                self.from_source(source)
            except ValidationError as error:
                first = error.errors()[0]
                key, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
                raise ValueError(f"from {source}: {key}: {said}") from None
        return self

    def from_source(self, source: str) -> LayerModel:
        """Return the layer from one of the sources that it lists."""
        made = LayerModel.model_validate(self.alternatives[source])
        return made.model_copy(update={"alternatives": self.alternatives})

    @field_validator("terrain")
    @classmethod
    def _once(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("each once")
        return value

    @property
    def options(self) -> dict[str, Any]:
        """What the source is constructed with, as JSON values: the same before and after the plan is frozen."""
        return {key: _plain(value) for key, value in (self.model_extra or {}).items()}


def _plain(value: Any) -> Any:
    """Return a YAML value as JSON has it: text keys, dates and NaN as text."""
    match value:
        case dict():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


class SplitsModel(_Strict):
    """How chips are assigned to train, val and test. A recipe without ``splits:`` assigns none."""

    policy: Policy = "blocks"
    shares: dict[Literal["train", "val", "test"], float] = {"train": 0.6, "val": 0.2, "test": 0.2}
    seed: int = Field(42, ge=0, lt=2**63)
    block_km: float | Literal["auto"] = "auto"
    """Side of a block, width of a band. ``auto``: 16, 8 or 4 times the buffer."""
    buffer_km: float | Literal["auto"] = "auto"
    """``auto``: diagonal of a chip + the coarsest label pixel, or ``correlation_km`` if that is more."""
    correlation_km: float | None = Field(None, gt=0)
    """Distance over which labels resemble each other, as the leakage report estimates it."""
    buffer_side: Literal["train", "val", "test"] = "train"
    """The split that yields first; of the others, test never yields to val."""
    angle: float | None = None
    n_bands: int | None = Field(None, ge=2)
    file: str | None = None
    """Of policy ``file``: a csv with chip_id and split."""
    regions: dict[Literal["train", "val", "test"], str | list[str]] | None = None
    """Of policy ``region``: what ``--aoi`` takes, by the split it is held out for; the rest is train."""
    stratify: str | None = None
    """Label layer by whose majority class label budgets are stratified."""


class AdminModel(_Strict):
    """Administrative units: a file of polygons, and the column that names them."""

    path: str
    id: str
    name: str = Field("unit", pattern=NAME)
    """Of the column ``admin_<name>``."""
    licence: str = ""
    """Of the outlines, which ``units.parquet`` holds."""
    citation: str = ""


class ProportionsModel(_Strict):
    """Which label proportions are written, and how."""

    layers: list[str] | None = None
    """Label layers that get columns; by default all."""
    min_valid: float = Field(0.5, ge=0, le=1)
    """Valid share of a chip or unit below which its proportions are NaN."""
    groups: dict[str, str | dict[str, list[int]]] = {}
    """By layer: groups of class codes, or the name of a level that the product's table has."""


class Recipe(_Strict):
    """A validated recipe."""

    name: str = Field(pattern=NAME)
    description: str = ""
    grid: GridModel = GridModel()
    layers: dict[str, LayerModel] = Field(min_length=1)
    splits: SplitsModel = SplitsModel(policy="none")
    admin: AdminModel | None = None
    """Units of ``units.parquet``, of the policy ``admin``, and of ``--sample N --by admin``."""
    proportions: ProportionsModel = ProportionsModel()
    storage: StorageModel = StorageModel()

    def codec(self, layer: str) -> Codec:
        """Return how a layer's chunks are compressed: as it says itself, else as ``storage`` says."""
        return self.layers[layer].codec or self.storage.codec

    def with_source(self, layer: str, source: str) -> Recipe:
        """Return the recipe with a layer from another of the sources that it lists.

        Raises:
            ConfigError: there is no such layer, or it does not list the source.
        """
        if layer not in self.layers:
            raise ConfigError(f"the recipe '{self.name}' has no layer '{layer}'", hint=near(layer, self.layers))
        model = self.layers[layer]
        if source == model.source:
            return self
        if source not in model.alternatives:
            names = list(model.alternatives) or [model.source]
            raise ConfigError(f"the layer '{layer}' does not list source '{source}'", hint=near(source, names))
        return self.model_copy(update={"layers": {**self.layers, layer: model.from_source(source)}})

    def resolved(self) -> dict[str, Any]:
        """Return the recipe with every default written out, as plain YAML values.

        Codecs, ``dem``, ``counts``, and licence and citation of the units, are written where they are not the default:
        a recipe without them reads as before there were any.
        """
        layers = {
            name: model.model_dump(
                mode="json", exclude={key for key in ("codec", "dem", "counts") if not getattr(model, key)}
            )
            | model.options
            for name, model in self.layers.items()
        }
        default = {"storage"} if self.storage == StorageModel() else set()
        made = self.model_dump(mode="json", exclude={"layers", *default}) | {"layers": layers}
        if self.admin is not None:
            made["admin"] = self.admin.model_dump(mode="json", exclude_defaults=True) | {"name": self.admin.name}
        return made


def parse_recipe(text: str, *, where: str = "recipe") -> Recipe:
    """Return the recipe written in YAML.

    Args:
        text: the YAML document.
        where: file name for messages.

    Raises:
        ConfigError: names the line, the key, and the valid choices.
    """
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"not valid YAML: {error.problem}", where=f"{where}, line {line}") from None
    except ValueError as error:  # a date that is none
        raise ConfigError(f"not valid YAML: {error}", where=where) from None
    except yaml.YAMLError:
        raise ConfigError("not a text file: a recipe is YAML in UTF-8", where=where) from None
    if not isinstance(data, dict):
        raise ConfigError(
            "a recipe is a mapping with `name:` and `layers:`",
            where=where,
            hint="start from recipes/demo.yaml",
        )
    _walk(node, (), lines, where)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise _explain(error, lines, where) from None
    for name in recipe.layers:
        if not name.isidentifier() or name != name.lower():
            at = f"{where}, line {lines.get(('layers', name), '?')}"
            raise ConfigError(f"layer name '{name}' must be lower-case letters, digits and _", where=at)
    return recipe


def _walk(node: Any, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], where: str) -> None:
    """Note the line of every key, and refuse a key written twice (YAML would drop the first silently)."""
    if len(path) > MAX_DEPTH:
        raise ConfigError("the document is nested too deep, or contains itself", where=where)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            if here in lines:
                raise ConfigError(
                    f"the key '{key.value}' stands twice (first on line {lines[here]})",
                    where=f"{where}, line {key.start_mark.line + 1}",
                )
            lines[here] = key.start_mark.line + 1
            _walk(value, here, lines, where)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _walk(value, (*path, index), lines, where)


def _explain(error: ValidationError, lines: Mapping[tuple[str | int, ...], int], where: str) -> ConfigError:
    """Return the first finding of pydantic as a message for a person."""
    errors = error.errors()
    # A misspelt key is also a missing one: the key that is there says more.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = tuple(first["loc"])
    known = path
    while known and known not in lines:
        known = known[:-1]
    at = f"{where}, line {lines[known]}" if known in lines else where
    # Below a value that was given, pydantic names the alternatives of its type: no words of the recipe.
    key = ".".join(str(part) for part in (path if first["type"] in {"missing", "extra_forbidden"} else known or path))
    words = [_words(e) for e in errors if e["type"] == "literal_error" and e["loc"][: len(known)] == known]
    match first["type"]:
        case "float_parsing" | "float_type" if words:
            wanted = " or ".join(f"'{word}'" for word in words[0])
            hint = near(str(first["input"]), words[0])
            return ConfigError(
                f"{key}: {first['input']!r} is neither a number nor {wanted}",
                where=at,
                hint=hint if hint.startswith("did") else "",
            )
        case "extra_forbidden":
            return ConfigError(f"unknown key '{key}'", where=at, hint=near(str(path[-1]), _fields(path)))
        case "missing":
            beside = [str(line[-1]) for line in lines if line[:-1] == path[:-1]]
            close = get_close_matches(str(path[-1]), beside, n=1)
            hint = f"is '{close[0]}' meant to be '{path[-1]}'?" if close else ""
            return ConfigError(f"the key '{key}' is missing", where=at, hint=hint)
        case "literal_error":
            hint = near(str(first["input"]), _words(first))
            return ConfigError(f"{key}: {first['input']!r} is not known", where=at, hint=hint)
        case _:
            said = first["msg"].removeprefix("Value error, ")
            found = "" if isinstance(first["input"], dict) else f" (found {first['input']!r})"
            return ConfigError(f"{key}: {said}{found}", where=at)


def _words(literal_error: Mapping[str, Any]) -> list[str]:
    """Return the words that pydantic says would have been right."""
    return [c.strip(" '") for c in str(literal_error["ctx"]["expected"]).replace(" or ", ",").split(",")]


def _fields(path: tuple[str | int, ...]) -> Iterable[str]:
    models: dict[str | int, type[BaseModel]] = {
        "grid": GridModel,
        "splits": SplitsModel,
        "admin": AdminModel,
        "proportions": ProportionsModel,
        "storage": StorageModel,
    }
    if len(path) == 1:
        return Recipe.model_fields
    model = models.get(path[0])
    return EncodingModel.model_fields if model is None else model.model_fields
