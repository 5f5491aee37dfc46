"""The frame of a report's map: the choice of colours, the legends, the canvas."""

from __future__ import annotations

from m3leo_prep.pipeline.report.choices import Choice
from m3leo_prep.pipeline.report.html import MINUS, count, histogram, number, percent, text
from m3leo_prep.pipeline.report.map import ChipMap

KEYS = "Drag to move, click and then use the wheel to zoom; with the keyboard: arrows, plus, minus, 0."


def map_box(drawn: ChipMap) -> str:
    """Return the HTML of the map; its data and its script stand at the end of the page."""
    options = "".join(
        f"<option{' selected' if choice.name == drawn.first else ''}>{text(choice.name)}</option>"
        for choice in drawn.choices
    )
    noun = "chip" if drawn.side == 1 else "square"
    legends = "".join(_legend(choice, noun, is_first=choice.name == drawn.first) for choice in drawn.choices)
    notes = [drawn.note, f"Not on the map: {', '.join(drawn.left_out)}." if drawn.left_out else ""]
    told = "".join(f'<p class="note">{text(note)}</p>' for note in notes if note)
    label = f"Map of {count(drawn.n_shapes, noun)}; the legend beside it has the same numbers. {KEYS}"
    return (
        '<div class="card"><div class="mapbar"><label for="map-colour">Colour by</label>'
        f'<select id="map-colour" autocomplete="off">{options}</select>'
        f'<span class="note" style="margin:0">{KEYS}</span></div>'
        '<div class="mapgrid"><div id="map-frame"><canvas id="map-canvas" tabindex="0" role="img" '
        f'aria-label="{text(label)}"></canvas><div class="zoom"><button id="map-in" aria-label="Zoom in">+</button>'
        f'<button id="map-out" aria-label="Zoom out">{MINUS}</button>'
        '<button id="map-home" aria-label="Show all chips">⌂</button></div><div id="map-tip" hidden></div>'
        '<div class="wait">The map is being drawn.</div></div>'
        f'<div>{legends}</div></div><div id="map-said" class="skip" aria-live="polite"></div>{told}</div>'
    )


def _legend(choice: Choice, noun: str, *, is_first: bool) -> str:
    inner = _words(choice, noun) if choice.words else _ramp(choice, noun)
    hidden = "" if is_first else " hidden"
    return f'<div class="legend" data-legend="{text(choice.name)}"{hidden}><h3>{text(choice.name)}</h3>{inner}</div>'


def _words(choice: Choice, noun: str) -> str:
    total = choice.known + choice.unknown
    made = "".join(
        f'<li><button data-word="{text(word)}" aria-pressed="true"><span class="swatch" style="--fill:{colour}"></span>'
        f'<span>{text(word)}</span><span class="dim">{count(n)}, {percent(100 * n / total)}</span></button></li>'
        for word, colour, n in choice.words
    )
    return f'<ul>{made}</ul><p class="note">{noun.capitalize()}s; choose one to hide or show it.</p>'


def _ramp(choice: Choice, noun: str) -> str:
    low, high = (f"{number(limit, 3)} {choice.unit}".strip() for limit in choice.limits)
    colours = ", ".join(choice.ramp[:: max(1, len(choice.ramp) // 12)] + choice.ramp[-1:])
    drawn = histogram(choice.histogram, "", "", f"{noun}s by {choice.name}", wide_px=220)
    unknown = f"{count(choice.unknown)} unknown" if choice.unknown else ""
    mean = f"mean {number(choice.mean)} {choice.unit}".strip() if choice.mean is not None else ""
    told = ", ".join(part for part in (mean, f"{count(choice.known, noun)}", unknown) if part)
    return (
        f'{drawn}<div class="gradient" style="margin-top:-12px;background:linear-gradient(to right,{colours})"></div>'
        f'<div class="ends"><span>{text(low)}</span><span>{text(high)}</span></div><p class="note">{text(told)}</p>'
    )
