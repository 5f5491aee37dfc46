"""``status``: showing how far a build is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from m3leo_prep.blobs.location import local_path
from m3leo_prep.cli.render import OUT, duration, print_json, size
from m3leo_prep.core.reasons import RETRYABLE
from m3leo_prep.pipeline.follow.status import LayerStatus, Status, read_status
from m3leo_prep.pipeline.follow.writers import Doing, Writer

BAR = 20
"""Characters."""
LONG_SECONDS = 600.0
"""A unit that has run for longer is named."""
MANY = 12
"""More writers are summed up."""
_STYLES = {Doing.WAITING: "yellow", Doing.STOPPED: "red", Doing.MISSING: "yellow", Doing.FINISHED: "green"}
_RETRYABLE = {reason.name for reason in RETRYABLE}


def run_status(dataset: str, *, as_json: bool) -> None:
    """Print how far the build in a folder is."""
    status = read_status(local_path(dataset))
    if as_json:
        print_json(status.to_dict())
        return
    OUT.print(f"{status.name} over {status.area}: {status.chips:,} chips in {status.path}", soft_wrap=True)
    _show_layers(status)
    _show_writers(status)
    for line in _remarks(status):
        OUT.print(line)
    if status.next:  # a command is to be pasted: it is never broken into lines
        OUT.print(f"next: {status.next}", soft_wrap=status.next.startswith("m3leo-prep"))


def _show_layers(status: Status) -> None:
    total = LayerStatus("all", status.units, status.done, bytes=sum(layer.bytes for layer in status.layers))
    rows = [*status.layers, total] if len(status.layers) > 1 else list(status.layers)
    width = max(len(row.layer) for row in rows)
    digits = max(len(f"{row.units:,}") for row in rows)
    for row in rows:
        share = row.done / row.units if row.units else 1.0
        # Neither a bar nor a number is full before all is done.
        bar = "█" * int(BAR * share)
        percent = f"{int(1000 * share) / 10:5.1f} %"
        counts = f"{row.done:>{digits},} of {row.units:>{digits},} units"
        written = f"  {size(row.bytes)}" if row.bytes else ""
        OUT.print(f"  {row.layer:<{width}}  {bar:░<{BAR}} {percent}  {counts}{written}", soft_wrap=True)


def _show_writers(status: Status) -> None:
    """Print what each writer does; of many, only those that somebody has to look at."""
    shown = list(status.writers)
    if len(shown) > MANY:
        counts = Counter(str(writer.doing) for writer in shown)
        OUT.print(f"{len(shown)} writers: " + ", ".join(f"{n} {doing}" for doing, n in counts.items()), soft_wrap=True)
        shown = [writer for writer in shown if writer.doing in {Doing.STOPPED, Doing.WAITING}][:MANY]
    for writer in shown:
        first, *rest = _writer_lines(writer, status.now)
        name = "build" if writer.part is None else f"part {writer.part[0]}/{writer.part[1]}"
        OUT.print(f"{name}: {first}", style=_STYLES.get(writer.doing, ""), soft_wrap=True)
        for line in rest:
            OUT.print(f"  {line}", soft_wrap=True)


def _writer_lines(writer: Writer, now: datetime) -> list[str]:
    """Return what a writer does and how far it is, then where and why."""
    where = f"on {writer.host}, process {writer.pid}" if writer.host else ""
    done = f"{writer.done:,} of {writer.units:,} units"
    if writer.doing is Doing.MISSING:
        return ["never started"]
    if writer.doing is Doing.STARTING:
        return ["starting, or closing the dataset", *filter(None, [where])]
    if writer.doing is Doing.WAITING and writer.waiting is not None:
        return [f"waiting for {writer.waiting.what}'s quota {_until(writer.waiting.until, now)}", f"{done}, {where}"]
    if writer.doing is Doing.RUNNING:
        left = writer.seconds_left(now)
        pace = f", {_pace(writer.rate)}" if writer.rate else ""
        rest = f", about {duration(left)} left" if left else ""
        return [f"running, {done}{pace}{rest}", where]
    ago = f" {duration((now - writer.updated).total_seconds())} ago" if writer.updated else ""
    code = f" with exit code {writer.exit}" if writer.exit else ""
    return [f"{writer.doing}{ago}{code}, {done}", *filter(None, [writer.message])]


def _pace(rate: float) -> str:
    per_minute = 60 * rate
    return f"{per_minute:,.0f}/min" if per_minute >= 100 else f"{per_minute:.2g}/min"


def _until(until: datetime | None, now: datetime) -> str:
    if until is None:
        return "(nobody says until when)"
    left = (until - now).total_seconds()
    return f"until {until:%Y-%m-%d %H:%M} UTC ({f'in {duration(left)}' if left > 0 else 'any moment'})"


def _remarks(status: Status) -> list[str]:
    """Return the lines below: a slow unit, holes, time left, notes."""
    lines = []
    if (unit := status.longest) and (seconds := (status.now - unit.since).total_seconds()) >= LONG_SECONDS:
        lines.append(f"longest: {unit.unit} has been running for {duration(seconds)}")
    for layer in status.layers:
        holes = _holes(layer.reasons)
        if layer.retryable:
            lines.append(f"holes in {layer.layer}: {layer.retryable:,} to be asked for again")
        if holes:
            lines.append(f"missing in {layer.layer}: {holes}")
    alive = sum(writer.is_alive for writer in status.writers)
    if status.seconds_left and alive > 1:
        lines.append(f"about {duration(status.seconds_left)} left until the last of {alive} is ready")
    lines += [f"note: {note}" for note in status.notes]
    if status.is_closed:
        lines.append("all units are made and the dataset is closed")
    return lines


def _holes(reasons: Mapping[str, int]) -> str:
    """Return the reasons that there are beside OK, the retryable first."""
    found = sorted(reasons.items(), key=lambda pair: (pair[0].upper() not in _RETRYABLE, -pair[1]))
    return ", ".join(f"{name.lower().replace('_', ' ')} {n:,}" for name, n in found if name.upper() != "OK" and n)
