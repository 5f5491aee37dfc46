"""Write docs/reference/asf-products.md from the classes of ASF's products: their options, variables and licences."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, cast

from m3leo_prep.core.defaults import default_pitch
from m3leo_prep.core.raster import SourceInfo, Variable
from m3leo_prep.sources.asf.source import Asf

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "asf-products.md"
SLOTS = {"period": "months, seasons, years, dates or periods", "pair": "`{pairs: ...}`", "orbit": "`{orbits: N}`"}
HEAD = """# ASF products

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


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(line for name in Asf.PRODUCTS for line in _section(name))])


def _section(name: str) -> Iterator[str]:
    made = Asf.product_class(name)
    info = cast("Asf", Asf(name)).describe()
    yield f"## {name}\n"
    yield f"{inspect.getdoc(made)}\n"
    pitch = info.pitch or 0.0
    yield f"- native pixels of {pitch:g} m; chips of 448 x 10 m keep them on {default_pitch(pitch, 4480.0, 10.0):g} m"
    yield f"- slots: {_slots(info)}"
    yield f"- {info.licence}. Cite: {info.citation}\n"
    yield from _variables(info)
    yield "| option | default | |"
    yield "|---|---|---|"
    notes = _notes(made)
    for field in fields(cast("Any", made)):
        if field.init and field.name != "product":
            yield f"| `{field.name}` | {_default(field)} | {notes.get(field.name, '')} |"
    yield ""


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
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case None | "" | () | [] | {}:
            return ""
        case tuple() | list():
            return f"`[{', '.join(map(str, value))}]`"
        case _:
            return f"`{value}`"


def _notes(made: type[Asf]) -> dict[str, str]:
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
    PAGE.write_text(page(), encoding="utf-8")
