"""Finding and loading recipes."""

from __future__ import annotations

from pathlib import Path

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.recipe import Recipe, parse_recipe
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.shipped import shipped


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.stem for path in shipped("recipes").glob("*.yaml"))


def load_recipe(text: str) -> tuple[Recipe, Path]:
    """Return a recipe by shipped name or by path, and the folder that its relative paths start from.

    Raises:
        ConfigError: no such recipe (near names listed), or it does not validate.
    """
    looks_like_path = text.endswith((".yaml", ".yml")) or "/" in text
    path = Path(text) if looks_like_path else shipped("recipes") / f"{text}.yaml"
    if not path.is_file():
        if looks_like_path:
            raise ConfigError(f"no recipe file at {text}", hint="recipes here: " + ", ".join(recipe_names()))
        raise ConfigError(f"no recipe is called '{text}'", hint=near(text, recipe_names()))
    # A shipped recipe reads the user's files, so its paths start where the command was given.
    base = path.resolve().parent if looks_like_path else Path.cwd()
    try:
        written = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError("not a text file: a recipe is YAML in UTF-8", where=text) from None
    return parse_recipe(written, where=text if looks_like_path else f"recipe {text}"), base
