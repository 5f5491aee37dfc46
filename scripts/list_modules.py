"""Write the part "Module by module" of ARCHITECTURE.md from the first line of each module's docstring."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = (
    "core",
    "ports",
    "ops",
    "store",
    "blobs",
    "reader",
    "runners",
    "sources",
    "pipeline",
    "publish",
    "maps",
    "cli",
    "testing",
)
TITLE = "## Module by module"


def first_line(module: Path) -> str:
    return (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").splitlines()[0]


def main() -> None:
    page = ROOT / "ARCHITECTURE.md"
    package = ROOT / "m3leo_prep"
    parts = [page.read_text(encoding="utf-8").split(TITLE)[0], f"{TITLE}\n"]
    parts.append("\n")
    parts.extend(f"- `{name}`: {first_line(package / name)}\n" for name in ("api.py", "transforms.py", "lightning.py"))
    for layer in LAYERS:
        parts.append(f"\n### {layer}\n\n{first_line(package / layer / '__init__.py')}\n\n")
        folder = package / layer
        modules = [m for m in folder.rglob("*.py") if m.name != "__init__.py"]
        modules.sort(key=lambda m: (m.parent != folder, str(m)))
        parts.extend(f"- `{m.relative_to(package)}`: {first_line(m)}\n" for m in modules)
    page.write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
