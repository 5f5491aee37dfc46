"""The contact sheet of a report: looks down, chips across."""

from __future__ import annotations

from collections.abc import Sequence

from m3leo_prep.pipeline.report.html import percent, text
from m3leo_prep.pipeline.report.picks import Pick
from m3leo_prep.pipeline.report.pictures import PIXELS, Looked, Sheet, Thumb

STATIC = "static"
"""Label of the only slot of a layer without time."""


def contact_sheet(sheet: Sheet) -> str:
    """Return the pictures as a table."""
    heads = "".join(f'<th scope="col">{_head(pick)}</th>' for pick in sheet.picks)
    rows = []
    before = ""
    for row in sheet.rows:
        for slot in range(max(len(thumbs) for thumbs in row.thumbs)):
            shown = [thumbs[slot] for thumbs in row.thumbs]
            labels = {thumb.slot for thumb in shown}
            same = labels.pop() if len(labels) == 1 else ""
            cells = "".join(
                f"<td>{_figure(thumb, row, pick, with_slot=not same)}</td>"
                for thumb, pick in zip(shown, sheet.picks, strict=True)
            )
            kind = ' class="first"' if row.layer != before else ""
            head = _title(row, shown, same, is_first=slot == 0, with_layer=row.layer != before)
            rows.append(f'<tr{kind}><th scope="row">{head}</th>{cells}</tr>')
            before = row.layer
    return (
        '<div class="card"><div class="wide"><table class="sheet"><thead><tr><td></td>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></div>"
    )


def _head(pick: Pick) -> str:
    split = f", {text(pick.split)}" if pick.split else ""
    return (
        f"<b>{text(pick.why)}</b><code style='font-size:11px;padding:0;background:none'>"
        f"{text(pick.chip_id).replace('_', '_<wbr>')}</code><br>{percent(pick.valid)} valid{split}"
    )


def _title(row: Looked, shown: Sequence[Thumb], slot: str, *, is_first: bool, with_layer: bool) -> str:
    """Return what a row shows: its look once, its slot where that is the same for all chips."""
    made = [text(row.layer)] if with_layer else []
    when = [_small(_slot(slot))] if slot and slot != STATIC else []
    if not is_first:
        return "".join([*made, *when])
    limits = {thumb.limits for thumb in shown if thumb.limits}
    span = f"{limits.pop()} {row.unit}".strip() if len(limits) == 1 else ""
    made += [_small(text(row.title)) if row.title != row.layer else "", *when]
    made += [_small(f"{color}: {text(key)}") for color, key in zip(("red", "green", "blue"), row.key, strict=False)]
    if row.ramp:
        made.append(f'<img class="ramp" src="{row.ramp}" alt="colours from low to high">{_small(text(span))}')
    made += [_small(text(row.note))] if row.note else []
    made += [
        _small(f'<span class="swatch" style="--fill:{shown.color}"></span> {text(shown.name)}') for shown in row.classes
    ]
    return "".join(made)


def _figure(thumb: Thumb, row: Looked, pick: Pick, *, with_slot: bool) -> str:
    named = f"{row.layer}, {row.title}, chip {pick.chip_id}, {_slot(thumb.slot)}"
    if thumb.source:
        size = f'width="{PIXELS}" height="{PIXELS}"'
        inner = f'<img src="{thumb.source}" {size} decoding="async" alt="{text(named)}">'
    else:
        inner = f"<span>{text(thumb.why)}</span>"
    fitted = f"{thumb.limits} {row.unit}".strip() if thumb.limits and row.is_fitted else ""
    missing = f"{percent(100 * thumb.valid)} valid" if 0 < thumb.valid < 1 else ""
    lines = [_slot(thumb.slot) if with_slot else "", text(thumb.about), text(fitted), text(thumb.span), missing]
    told = "<br>".join(line for line in lines if line)
    return f'<figure><div class="shot">{inner}</div><figcaption>{told}</figcaption></figure>'


def _slot(label: str) -> str:
    """Return a slot's name: a period from its start to its end."""
    return text(label.replace("_", " to ") if len(label) > len("summer_2020 ") else label.replace("_", " "))


def _small(content: str) -> str:
    return f"<small>{content}</small>" if content else ""
