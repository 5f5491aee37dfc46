"""``doctor`` and ``login``: what works here, and storing what is missing."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from m3leo_prep.cli.render import ERR, OUT, print_json, print_table
from m3leo_prep.core.errors import ConfigError, CredentialsError, MissingDependency, PrepError
from m3leo_prep.pipeline.machine import Finding
from m3leo_prep.ports.login import Prompt, load_login, login_names

STYLES = {"ok": "green", "info": "dim", "warn": "yellow", "fail": "bold red"}


def run_doctor(recipe: str | None, *, as_json: bool) -> int:
    """Print what works and what does not; return the exit code: 0, 2, or 3 where logins are all that is missing."""
    from m3leo_prep.pipeline.doctor import examine
    from m3leo_prep.pipeline.recipes import load_recipe

    chosen, base = load_recipe(recipe) if recipe else (None, None)
    with ERR.status("looking"):
        findings = examine(chosen, base, [_snap()])
    failed = [finding for finding in findings if finding.state == "fail"]
    logins_only = all(finding.is_login for finding in failed)
    code = 0 if not failed else CredentialsError.exit_code if logins_only else ConfigError.exit_code
    step = _step(failed, recipe)
    if as_json:
        print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings], "next": step})
        return code
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        word = "-" if finding.state == "info" else finding.state
        optional = f": {finding.next}" if finding.state == "info" and finding.next else ""
        table.add_row(Text(word, STYLES[finding.state]), Text(finding.name), Text(finding.seen + optional))
        if finding.next and not optional:
            table.add_row("", "", Text(f"-> {finding.next}", STYLES[finding.state]))
    OUT.print(table)
    what = f"the recipe '{chosen.name}'" if chosen else "this machine"
    OUT.print()
    if failed:
        OUT.print(f"{what}: {len(failed)} of {len(findings)} checks failed", style="bold red")
    else:
        OUT.print(f"{what}: ready", style="bold green")
    OUT.print(f"Next: {step}", soft_wrap=True)
    return code


def _snap() -> Finding:
    """Return whether ESA SNAP is here: products whose names end in ``-snap`` need it, and ask for it themselves."""
    from m3leo_prep.sources.snap.installed import INSTALL, find

    try:
        return Finding("SNAP", "ok", str(find()))
    except MissingDependency as error:
        return Finding("SNAP", "info", f"{error.message} (for products ...-snap)", INSTALL)
    except ConfigError as error:
        return Finding("SNAP", "warn", f"{error.where}: {error.message}", error.hint)


def _step(failed: list[Finding], recipe: str | None) -> str:
    """Return the one command to type next."""
    again = f"m3leo-prep doctor --recipe {recipe}" if recipe else "m3leo-prep doctor"
    commands = [finding.next for finding in failed if finding.next.startswith(("m3leo-prep ", "pip ", "earthengine "))]
    if failed:
        return commands[0] if commands else f"mend what failed, then: {again}"
    if recipe is None:
        return "m3leo-prep build --aoi demo --recipe demo --out demo"
    return f"m3leo-prep plan --aoi {'demo' if recipe == 'demo' else 'AREA'} --recipe {recipe}"


def run_login(provider: str | None, *, as_json: bool) -> None:
    """Ask for a provider's login and store it; without a provider, list them and whether a login is stored."""
    if provider is None:
        _list_logins(as_json=as_json)
        return
    login = load_login(provider)
    if not login.prompts:
        raise ConfigError(f"{login.title} has a command of its own for this", hint=f"run: {login.command}")
    if login.command:
        ERR.print(f"The provider's own command does the same: {login.command}", soft_wrap=True)
    ERR.print(f"{login.title}. No account yet? {login.signup}", soft_wrap=True)
    stored = login.store({prompt.name: _ask(prompt) for prompt in login.prompts})
    if as_json:
        print_json({"provider": login.name, "stored": str(stored.path), "notes": list(stored.notes)})
        return
    for note in stored.notes:
        ERR.print(f"note: {note}", soft_wrap=True)
    ERR.print(
        f"Stored in {stored.path}, readable by you alone. Next: m3leo-prep doctor --recipe RECIPE", soft_wrap=True
    )


def _list_logins(*, as_json: bool) -> None:
    rows = [_row(name) for name in login_names()]
    if as_json:
        print_json(rows)
        return
    shown = [(r["provider"], "stored" if r["stored"] else "not stored", r["path"], r["title"]) for r in rows]
    print_table("", ("provider", "login", "kept in", "for"), shown)
    ERR.print("Next: m3leo-prep login PROVIDER")


def _row(name: str) -> dict[str, Any]:
    row = {"provider": name, "stored": False, "path": "", "title": "", "signup": ""}
    try:
        login = load_login(name)
        row |= {"path": _short(login.path), "title": login.title, "signup": login.signup}
        return row | {"stored": login.stored()}
    except PrepError as error:  # one that cannot be told must not hide the others
        ERR.print(f"warning: {error.where or name}: {error.message}", soft_wrap=True)
        return row


def _short(path: Path) -> str:
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def _ask(prompt: Prompt) -> str:
    """Return an answer: typed blind where it is a secret, or the next line where nobody types."""
    if sys.stdin.isatty():
        empty = "" if prompt.optional else None
        return str(typer.prompt(prompt.text, empty, hide_input=prompt.secret, show_default=False, err=True))
    line = sys.stdin.readline()
    if not line and not prompt.optional:
        raise ConfigError(
            f"nobody is there to type the answer to '{prompt.text}'",
            hint="run it in a terminal, or hand the answers in on standard input, one a line",
        )
    return line.rstrip("\r\n")
