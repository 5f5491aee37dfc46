"""Write the pages about products of sources from their classes: their options, variables and licences."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, cast

from m3leo_prep.core.defaults import default_pitch
from m3leo_prep.core.raster import SourceInfo, Variable
from m3leo_prep.sources._by_product import ByProduct
from m3leo_prep.sources.asf.source import Asf
from m3leo_prep.sources.copernicus.source import Copernicus
from m3leo_prep.sources.stac.source import Stac
from m3leo_prep.sources.tiles.source import Tiles

DOCS = Path(__file__).parents[1] / "docs" / "reference"
SLOTS = {"period": "months, seasons, years, dates or periods", "pair": "`{pairs: ...}`", "orbit": "`{orbits: N}`"}
ASF = """# ASF products

What a layer with `source: asf` may name with `product:`, and the options of each. The [guide](../guides/asf.md) says
how they are used; [time slots](../concepts/time-slots.md) what pairs and orbits are. Variables are those that come if
the recipe says nothing else.

```yaml
name: radar
layers:
  gssic: {source: asf, product: gssic, slots: seasons}
  gunw: {source: asf, product: gunw, slots: {pairs: {year: 2020, windows: {short: [0, 60]}, pick: near}}}
```
"""
COPERNICUS = """# Copernicus products

What a layer with `source: copernicus` may name with `product:`, and the options of each. The
[guide](../guides/copernicus.md) says how they are used. Variables are those that come if the recipe says nothing else.

```yaml
name: sentinels
layers:
  s2: {source: copernicus, product: s2-l2a, slots: {months: 2020}, bands: [red, green, blue]}
  s1: {source: copernicus, product: s1-grd, slots: {months: 2020}, dem: dem}
  dem: {source: tiles, product: glo30}
```
"""
OPEN = """# STAC and public tiles

What a layer with `source: stac` or `source: tiles` may name with `product:`, and the options of each; none of it needs
a login. The [guide](../guides/copernicus.md#without-a-login) says how they are used. Variables are those that come if
the recipe says nothing else.

```yaml
name: open
layers:
  s2: {source: stac, product: s2-l2a, slots: {months: 2020}, bands: [red, green, blue]}
  dem: {source: tiles, product: glo30}
```
"""
LEAST: dict[str, dict[str, Any]] = {"worldcover": {"year": 2021}}
"""What must be said of a product for it to be described."""


def pages() -> dict[str, str]:
    """Return the pages by name of their file."""
    return {
        "asf-products.md": _page(ASF, Asf),
        "copernicus-products.md": _page(COPERNICUS, Copernicus),
        "stac-products.md": _page(OPEN, Stac, Tiles),
    }


def _page(head: str, *sources: type[ByProduct]) -> str:
    return "\n".join(
        [head, *(line for source in sources for name in source.PRODUCTS for line in _section(source, name))]
    )


def _section(source: type[ByProduct], name: str) -> Iterator[str]:
    made = source.product_class(name)
    yield f"## {_title(source, name)}\n"
    yield f"{inspect.getdoc(made)}\n"
    if name:  # what a collection delivers, the recipe says
        yield from _described(source(name, **LEAST.get(name, {})).describe())
    yield "| option | default | |"
    yield "|---|---|---|"
    notes = _notes(made)
    for field in fields(cast("Any", made)):
        if field.init and field.name != "product":
            yield f"| `{field.name}` | {_default(field)} | {notes.get(field.name, '')} |"
    yield ""


def _title(source: type[ByProduct], name: str) -> str:
    if source is Asf or source is Copernicus:
        return name
    return f"{source.NAME}: {name or 'any collection'}"


def _described(info: SourceInfo) -> Iterator[str]:
    pitch = info.pitch or 0.0
    yield f"- native pixels of {pitch:g} m; chips of 448 x 10 m keep them on {default_pitch(pitch, 4480.0, 10.0):g} m"
    yield f"- slots: {_slots(info)}"
    yield f"- {info.licence}. Cite: {info.citation}\n"
    yield from _variables(info)


def _slots(info: SourceInfo) -> str:
    if info.is_static:
        return "none, it does not change"
    words = " or ".join(SLOTS[kind] for kind in info.slot_kinds)
    return f"{words}; all there is, is of {info.year}" if info.year else words


def _variables(info: SourceInfo) -> Iterator[str]:
    yield "| variable | kind | unit | bands | |"
    yield "|---|---|---|---|---|"
    for one in info.variables:
        yield f"| `{one.name}` | {one.kind} | {one.unit} | {', '.join(one.bands)} | {_told(one)} |"
    yield ""


def _told(variable: Variable) -> str:
    return variable.long_name.replace("|", "/")


def _default(field: Field[Any]) -> str:
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    if value is MISSING:
        return "required"
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case None | "" | () | [] | {}:
            return ""
        case tuple() | list():
            return f"`[{', '.join(map(str, value))}]`"
        case _:
            return f"`{value}`"


def _notes(made: type[ByProduct]) -> dict[str, str]:
    """Return the text below each field of a class."""
    (tree,) = ast.parse(inspect.getsource(made)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for at, text in zip(tree.body, tree.body[1:], strict=False):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(at, ast.AnnAssign) and isinstance(at.target, ast.Name) and is_text:
            value = cast("ast.Constant", cast("ast.Expr", text).value).value
            found[at.target.id] = " ".join(str(value).replace("``", "`").split())
    return found


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
