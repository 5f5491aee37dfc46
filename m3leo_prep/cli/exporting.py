"""``export``: a few chips for other tools."""

from __future__ import annotations

from collections.abc import Sequence

from m3leo_prep.cli.render import ERR, OUT, print_json, print_table, size
from m3leo_prep.pipeline.export import export


def run_export(
    dataset: str,
    chips: Sequence[str],
    format: str,  # noqa: A002  the option's name
    *,
    out: str,
    layers: list[str] | None,
    as_json: bool,
) -> None:
    """Write chips, given by id or row, and print the files with their sizes."""
    with ERR.status("writing"):
        chosen = [int(chip) if chip.isdecimal() else chip for chip in chips]
        made = [(str(path), path.stat().st_size) for path in export(dataset, chosen, format, out, layers)]
    if as_json:
        print_json([{"path": path, "bytes": n_bytes} for path, n_bytes in made])
        return
    print_table("", ("file", "size"), [(path, size(n_bytes)) for path, n_bytes in made])
    OUT.print(f"{len(made):,} {'file' if len(made) == 1 else 'files'}, {size(sum(n_bytes for _, n_bytes in made))}")
