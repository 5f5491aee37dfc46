"""``check-source``: one line per rule, and under a broken one what was seen, where, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from m3leo_prep.cli.render import ERR, OUT, print_json
from m3leo_prep.core.errors import ConfigError, VerifyError
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.testing.source_trial import Result, Trial, try_source

LONGEST_SECONDS = 86_400.0
SIGNS = {"ok": "ok", "broken": "x"}
STYLES = {"ok": "green", "broken": "red"}


def run_check_source(
    source: str, options: list[str], *, aoi: str | None, slots: str | None, timeout: float, as_json: bool
) -> None:
    """Try every rule on a source, print what came of each, and raise if one is broken."""
    from m3leo_prep.pipeline.areas import load_area

    if not 0 < timeout < LONGEST_SECONDS:
        raise ConfigError(f"--timeout {timeout:g} is no time", hint="give seconds, such as 60")
    trial = try_source(
        source,
        _options(options),
        base=Path.cwd(),
        area=None if aoi is None else load_area(aoi, yes=True).geometry,
        slots=None if slots is None else parse_slots(_yaml("--slots", slots)),
        timeout=timeout,
        on_result=(lambda _: None) if as_json else _print,
    )
    if as_json:
        print_json(_document(trial))
    else:
        _print_end(trial)
    broken = trial.count("broken")
    if broken:
        rules = "rule is" if broken == 1 else "rules are"
        raise VerifyError(
            f"{broken} {rules} not kept by {trial.source}", hint="see docs/guides/add-a-source.md for the rules"
        )


def _print(result: Result) -> None:
    if result.state == "skipped":
        return
    OUT.print(f"{SIGNS[result.state]:<3}{result.rule}", style=STYLES[result.state], soft_wrap=True)
    if result.state == "broken":
        for label, text in (("seen", result.seen), ("where", result.where), ("change", result.change)):
            if text:
                OUT.print(f"     {label + ':':<8}{text}", soft_wrap=True)


def _print_end(trial: Trial) -> None:
    for text in trial.warnings:
        ERR.print(f"warning: {text}", soft_wrap=True)
    if trial.about:
        OUT.print(f"{trial.source}, {trial.about}", soft_wrap=True)
    if trial.place:
        OUT.print(f"tried at {trial.place}", soft_wrap=True)
    for reason, rules in _skipped(trial).items():
        OUT.print(f"-  {len(rules)} {reason}", style="dim", soft_wrap=True)
    counts = {"kept": trial.count("ok"), "broken": trial.count("broken"), "not tried": trial.count("skipped")}
    OUT.print(f"{len(trial.results)} rules: " + ", ".join(f"{n} {word}" for word, n in counts.items() if n))


def _skipped(trial: Trial) -> dict[str, list[str]]:
    """Return the rules that were not tried, by why."""
    found: dict[str, list[str]] = {}
    for result in trial.results:
        if result.state == "skipped":
            found.setdefault(result.seen, []).append(result.rule)
    return found


def _document(trial: Trial) -> dict[str, Any]:
    return {
        "source": trial.source,
        "ok": trial.count("broken") == 0,
        "about": trial.about,
        "tried_at": trial.place,
        "rules": [
            {"rule": r.rule, "state": r.state, "seen": r.seen, "where": r.where, "change": r.change}
            for r in trial.results
        ],
        "warnings": trial.warnings,
    }


def _options(given: list[str]) -> dict[str, Any]:
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"'{text}' is no option", hint="write name=value, such as path=rasters or bands=[vv,vh]")
        options[name] = _yaml(name, value)
    return options


def _yaml(what: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{what}: '{text}' is not valid YAML", hint="quote it for the shell: 'a: b'") from error
