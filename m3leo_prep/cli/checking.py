"""``verify``: showing what was checked and found."""

from __future__ import annotations

from m3leo_prep.blobs.location import local_path, scheme
from m3leo_prep.cli.render import ERR, OUT, print_json
from m3leo_prep.core.errors import StoreError
from m3leo_prep.pipeline.verify import verify


def run_verify(dataset: str, *, quick: bool, sample: int, seed: int, as_json: bool) -> None:
    """Check a dataset, print the report, and raise if anything was found."""
    if scheme(dataset) == "file" and not local_path(dataset).is_dir():
        raise StoreError(f"there is no dataset at {dataset}", hint="give the folder that `build --out` made")
    with ERR.status("reading"):
        report = verify(dataset, quick=quick, sample=sample, seed=seed)
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "problems": [{"where": where, "what": what} for where, what in report.problems],
                "checked": report.counts,
                "notes": report.notes,
                "reasons": report.reasons,
            }
        )
    else:
        for where, what in report.problems:
            OUT.print(f"x {where}: {what}", style="red", soft_wrap=True)
        for note in report.notes:
            OUT.print(f"note: {note}", soft_wrap=True)
        checked = ", ".join(f"{n:,} {what}" for what, n in report.counts.items()) or "the manifest"
        OUT.print(f"checked {checked}: {'all good' if report.ok else f'{len(report.problems)} findings'}")
    report.raise_if_bad()
