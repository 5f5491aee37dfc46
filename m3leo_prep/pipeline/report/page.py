"""The page of a report: its numbers, its map and its pictures in one HTML file that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template

from m3leo_prep.core.errors import StoreError
from m3leo_prep.pipeline.report import sections, sections_learning
from m3leo_prep.pipeline.report.contact import contact_sheet
from m3leo_prep.pipeline.report.figures import Figures, figures
from m3leo_prep.pipeline.report.html import count, number, text
from m3leo_prep.pipeline.report.map import ChipMap, chip_map
from m3leo_prep.pipeline.report.mapbox import map_box
from m3leo_prep.pipeline.report.picks import picks
from m3leo_prep.pipeline.report.pictures import Sheet, make_sheet
from m3leo_prep.reader.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Report:
    """A report, ready to be written."""

    figures: Figures
    html: str = field(repr=False)

    def save(self, path: str | Path) -> None:
        """Write the page to a file, which any browser opens without a network.

        Raises:
            StoreError: it cannot be written.
        """
        try:
            Path(path).write_text(self.html, encoding="utf-8")
        except OSError as error:
            hint = "name a file in a folder that exists and may be written to"
            raise StoreError(f"the report cannot be written: {error.strerror}", where=str(path), hint=hint) from error


def make_report(dataset: str | Path | Dataset) -> Report:
    """Return the report of a dataset.

    Args:
        dataset: its folder, or the dataset opened.

    Raises:
        MissingDependency: matplotlib is not installed.
        StoreError: no finished dataset there; a table or a shard is absent or damaged.
        VerifyError: an array is damaged.
    """
    opened = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    found = figures(opened)
    chips = opened.chips.drop(columns="geometry")
    return Report(found, render(found, chip_map(opened, chips), make_sheet(opened, picks(chips, found.labels))))


def render(found: Figures, drawn: ChipMap, sheet: Sheet) -> str:
    """Return the page as HTML."""
    about = found.overview
    parts = [
        ("map", "Map", "Every chip, coloured by what you choose.", map_box(drawn)),
        (
            "layers",
            "Layers",
            "What is stored, and how much of it is there.",
            f'<div class="card">{sections.layer_table(found)}</div>',
        ),
        ("pictures", "Pictures", _about_pictures(sheet), contact_sheet(sheet)),
        (
            "validity",
            "What is valid",
            "Why pixels are there or not: chips x bands by stored reason, slot by slot.",
            sections.validity(found),
        ),
        (
            "labels",
            "Labels",
            "What the labels say of chips, and of administrative units.",
            sections_learning.labels(found),
        ),
        (
            "splits",
            "Splits and leakage",
            "Which chips a model learns from, and how far the others are from them.",
            sections_learning.splits(found),
        ),
        ("statistics", "Statistics", "Of the valid pixels, in physical units.", sections_learning.statistics(found)),
        ("provenance", "Provenance", "Which scenes were used, and under which terms.", sections.provenance(found)),
        ("sizes", "Sizes", "Pixels on disk, compressed.", sections.sizes(found)),
        (
            "missing",
            "What is missing",
            "What a dataset can have and this one has not, and how to get it.",
            sections.absences(found),
        ),
    ]
    body = [_header(found)] + [
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>'
        f'<p class="about">{told}</p>{content}</section>'
        for name, title, told, content in parts
    ]
    body.append(
        f"<footer>{text(about.name)}, {text(about.area)}: dataset {text(about.dataset_id)}, "
        f"format {text(about.format_version)}. "
        "Every number on this page is counted from the dataset's tables and the arrays beside its pixels.</footer>"
    )
    asset = resources.files("m3leo_prep.pipeline.report")
    page = Template(asset.joinpath("report.html").read_text(encoding="utf-8"))
    return page.substitute(
        title=text(f"{about.name}, {about.area}: dataset report"),
        style=asset.joinpath("report.css").read_text(encoding="utf-8"),
        contents="\n".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _, _ in parts),
        body="\n".join(body),
        about=drawn.about.replace("<", "\\u003c"),
        data=drawn.data,
        script=asset.joinpath("map.js").read_text(encoding="utf-8"),
    )


def _header(found: Figures) -> str:
    about = found.overview
    named = about.name if about.name == about.area else f"{about.name}, {about.area}"
    lead = about.description or f"{count(about.n_chips, 'chip')} on {number(about.chips_km2)} km²."
    return f'<header><h1>{text(named)}</h1><p class="lead">{text(lead)}</p>{sections.tiles(found)}</header>'


def _about_pictures(sheet: Sheet) -> str:
    told = "A few chips, each chosen for a reason; the draw among equals is seeded, so the same dataset shows the same."
    left = f" Not drawn: {text(', '.join(sheet.left_out))}." if sheet.left_out else ""
    return f"{told} Missing pixels are hatched. <code>m3leo-prep show</code> draws a chip in full.{left}"
