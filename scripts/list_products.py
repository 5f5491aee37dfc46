"""Write docs/reference/products.md from the product tables."""

from __future__ import annotations

from pathlib import Path

from m3leo_prep.core.products import Product, ProductVariable, product, product_names

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "products.md"
HEAD = """# Products

What a layer may name with `product:`. The table fills in what the numbers mean, which of them mean no data, the
classes with their colours, licence and citation; what the recipe says itself, wins. It is data, in
`m3leo_prep/core/products.yaml`, and the only place where these codes stand.

```yaml
worldcover: {role: label, source: local, path: rasters/worldcover, product: worldcover-v200}
```
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_section(product(name)) for name in product_names())])


def _section(one: Product) -> str:
    source = f"[{one.url.split('/')[2]}]({one.url})"
    lines = [
        f"## {one.name}",
        "",
        f"{one.title}. Native pixels of {one.pitch:g} m; {one.licence}; codes from {source}.",
        f"Cite: {one.reference}",
        "",
        "| variable | kind | unit | no data | flags | classes |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(variable) for variable in one.variables]
    for level, groups in one.groups.items():
        lines += ["", f"Groups `{level}`: " + "; ".join(f"{name} {_codes(codes)}" for name, codes in groups.items())]
    return "\n".join([*lines, ""])


def _row(variable: ProductVariable) -> str:
    nodata = "as the file says" if variable.nodata is None else ", ".join(f"{number:g}" for number in variable.nodata)
    flags = ", ".join(f"{one.code} {one.name}" for one in variable.flags)
    classes = ", ".join(f"{one.code} {one.name}" for one in variable.legend)
    return f"| `{variable.name}` | {variable.kind} | {variable.unit or '1'} | {nodata} | {flags} | {classes} |"


def _codes(codes: tuple[int, ...]) -> str:
    """Return codes as text, runs of them shortened."""
    runs: list[list[int]] = []
    for code in sorted(codes):
        if runs and code == runs[-1][-1] + 1:
            runs[-1].append(code)
        else:
            runs.append([code])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
