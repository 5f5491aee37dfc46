"""Write docs/reference/earth-engine-products.md from the table of Earth Engine's products."""

from __future__ import annotations

from pathlib import Path

from m3leo_prep.sources.gee.choice import Quantity, Row
from m3leo_prep.sources.gee.products import row, row_names, tables, years_in_words

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "earth-engine-products.md"
WORLD = (-180, -90, 180, 90)
HEAD = """# Earth Engine products

What a layer with `source: gee` may name with `product:`. The table says where the pixels are, what the numbers mean,
which of them mean no data, and by which kernel each image is resampled on Earth Engine's side, whose own default is
nearest and silent. It is data, in `m3leo_prep/sources/gee/products.yaml`; classes and citations are those of
[products](products.md).

```yaml
s1grd:      {source: gee, product: s1-grd, slots: {seasons: 2020}}
worldcover: {role: label, source: gee, product: worldcover-v200}
biomass:    {source: gee, product: cci-agb, year: 2020, variables: {agb: {}, agb_sd: {correlation: 1}}}
```

- *composited there*: the images of a slot become one on Earth Engine's side, on the chip's pixels. `composite: local`
  fetches each image in its own pixels instead and composites here, at many times the bytes.
- *own pixels*: each image comes in its own pixels, and is resampled and composited here.
- A value is `number x scale + offset`; `10^(n/10)` and `n^2` stand where something is done to the number first.
- **Bold** bands come if the recipe names none; `bands:` takes any, from any variable. Radar bands come once for each
  direction: `vv_asc`, `vv_desc`.
- *Checked* says what was read in Earth Engine's public catalogue (August 2026), and what nobody could check without an
  account: `make live-gee` looks at it.
"""


def page() -> str:
    """Return the page."""
    index = [
        f"| [{name}](#{name}) | {row(name).title} | {_place(row(name))} | {_time(row(name))} |" for name in row_names()
    ]
    table = ["| product | what | where it is composited | years |", "|---|---|---|---|", *index, ""]
    return "\n".join([HEAD, *table, *(_section(row(name)) for name in row_names())])


def _section(one: Row) -> str:
    filters = ", ".join(f"{key} = {value}" for key, value in one.filters.items())
    said = [
        f"[{one.asset}]({one.url})",
        f"native pixels of {one.pitch:g} m",
        _place(one) + (f", each image resampled by {one.kernel}" if one.mode == "composite" else ""),
        _time(one),
        *([f"only {filters}"] if filters else []),
        *([f"clouds by {', '.join(f'`{rule}`' for rule in one.clouds)}"] if one.clouds else []),
        *(
            []
            if one.domain == WORLD
            else [f"longitude {one.domain[0]:g} to {one.domain[2]:g}, latitude {one.domain[1]:g} to {one.domain[3]:g}"]
        ),
    ]
    lines = [
        f"## {one.name}",
        "",
        f"{one.title}.",
        "",
        *(f"- {text}" for text in said),
        *(f"- gap {first} to {last}: {what}" for first, last, what in one.gaps),
        *(f"- {key.replace('_', ' ')}: {value}" for key, value in one.attributes.items()),
        f"- {one.licence}. Cite: {one.citation}",
        f"- Checked: {tables()[one.name]['verified']}.",
        "",
        "| variable | kind | unit | bands | value | no data | flags |",
        "|---|---|---|---|---|---|---|",
        *(_row(one, quantity) for quantity in one.quantities if not quantity.flags_of),
        "",
    ]
    return "\n".join(lines)


def _row(one: Row, quantity: Quantity) -> str:
    variable = quantity.variable
    main = one.main.get(variable.name, ())
    bands = ", ".join(f"**{band}**" if band in main else band for band in variable.bands)
    nodata = ", ".join(f"{number:g}" for number in quantity.nodata)
    if quantity.valid_range:
        nodata += f"{'; ' if nodata else ''}outside {quantity.valid_range[0]:g} to {quantity.valid_range[1]:g}"
    flags = ", ".join(map(str, quantity.flags))
    return (
        f"| `{variable.name}` | {variable.kind} | {variable.unit} | {bands} | {_value(quantity)} | {nodata} | {flags} |"
    )


def _value(quantity: Quantity) -> str:
    if not all(quantity.names):
        return "made here"
    number = {"none": "n", "from_decibel": "10^(n/10)", "squared": "n^2"}[quantity.transform]
    scale = "" if quantity.scale == 1 else f" x {quantity.scale:.6g}"
    offset = f" + {quantity.offset:g}" if quantity.offset else ""
    return number + scale + offset


def _place(one: Row) -> str:
    return "composited there" if one.mode == "composite" else "own pixels"


def _time(one: Row) -> str:
    words = years_in_words(one)
    return "no dates" if words == "no years" else words


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
