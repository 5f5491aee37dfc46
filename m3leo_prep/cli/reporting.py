"""``report``: one HTML page about a dataset."""

from __future__ import annotations

from pathlib import Path

from m3leo_prep.cli.render import ERR, OUT, print_json, size
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.pipeline.report.page import make_report
from m3leo_prep.reader.dataset import Dataset


def run_report(dataset: str, *, out: str | None, as_json: bool) -> None:
    """Write the page and print where it is; as JSON, every number on it."""
    opened = Dataset(dataset)
    path = _target(out, opened)
    with ERR.status("counting and drawing"):
        report = make_report(opened)
        report.save(path)
    if as_json:
        print_json({"path": str(path)} | report.figures.document())
        return
    for one in report.figures.absent:
        ERR.print(f"not there: {one.part} ({one.why})", soft_wrap=True)
    OUT.print(f"report: {path}, {size(path.stat().st_size)}", soft_wrap=True)


def _target(out: str | None, dataset: Dataset) -> Path:
    """Return the file to write; by default in the working folder, so that the dataset stays what it is.

    Raises:
        ConfigError: it cannot be written there, or it would lie in the dataset.
    """
    folder = None if dataset.root.is_remote else dataset.path.resolve()
    name = f"{folder.name if folder else dataset.manifest['name']}-report.html"
    path = Path(out or name)
    if path.is_dir():
        path /= name
    if path.suffix.lower() not in {".html", ".htm"}:
        raise ConfigError(f"'{path.name}' is no name of a page", where="--out", hint="name a file that ends in .html")
    if not path.parent.is_dir():
        hint = f"make it first: mkdir -p {path.parent}"
        raise ConfigError(f"there is no folder {path.parent}", where="--out", hint=hint)
    if folder in path.resolve().parents:
        hint = "write it beside the dataset, whose files are listed in its manifest"
        raise ConfigError("the page would lie inside the dataset", where="--out", hint=hint)
    return path
