"""The command ``m3leo-prep``: one function a command, errors turned into messages and exit codes."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Annotated, Any

import typer

from m3leo_prep import __version__
from m3leo_prep.core.errors import EXIT_INTERRUPTED, ConfigError, PrepError

app = typer.Typer(
    name="m3leo-prep",
    help="Satellite archives in, verified machine-learning chip datasets out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
aoi_app = typer.Typer(help="The areas there are.", no_args_is_help=True)
app.add_typer(aoi_app, name="aoi")

Aoi = Annotated[str, typer.Option("--aoi", help="Name, country, file, WKT, or lon,lat,lon,lat box.")]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="Name of a shipped recipe, or a YAML file.")]
Out = Annotated[str | None, typer.Option("--out", help="Folder of the dataset. Default: ./AOI-RECIPE.")]
Layers = Annotated[str | None, typer.Option("--layers", help="Only these layers, separated by commas.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _show_version(value: bool) -> None:  # noqa: FBT001  (typer's callback form)
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def build(
    aoi: Aoi,
    recipe: RecipeName = None,
    out: Out = None,
    layers: Layers = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Units built at a time. Default: one per core.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory for all workers, such as 8GB.")] = None,
    runner: Annotated[str, typer.Option(help="threads or processes; the result is the same.")] = "threads",
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the sources again for what they have.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Plan, build, close and check a dataset; run again to resume.

    Example: [bold]m3leo-prep build --aoi demo --recipe demo --out demo[/bold]
    """
    from m3leo_prep.cli.building import run_build

    code = run_build(
        aoi,
        recipe,
        out,
        layers=_names(layers),
        workers=workers,
        memory=memory,
        runner=runner,
        refresh=refresh,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command()
def plan(aoi: Aoi, recipe: RecipeName = None, layers: Layers = None, yes: Yes = False, as_json: Json = False) -> None:
    """Show what a build would make and take; nothing is written.

    Example: [bold]m3leo-prep plan --aoi luxembourg --recipe demo[/bold]
    """
    from m3leo_prep.cli.building import run_plan

    run_plan(aoi, recipe, layers=_names(layers), yes=yes, as_json=as_json)


@app.command()
def verify(
    dataset: Annotated[str, typer.Argument(help="Folder of the dataset.")],
    quick: Annotated[bool, typer.Option("--quick", help="Do not read every byte.")] = False,
    sample: Annotated[int, typer.Option(min=0, help="Chips per layer derived again from the source.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    as_json: Json = False,
) -> None:
    """Check that a dataset is what it says; every finding is named.

    Example: [bold]m3leo-prep verify demo[/bold]
    """
    from m3leo_prep.cli.checking import run_verify

    run_verify(dataset, quick=quick, sample=sample, seed=seed, as_json=as_json)


@app.command()
def sources(as_json: Json = False) -> None:
    """List where pixels can come from.

    Example: [bold]m3leo-prep sources[/bold]
    """
    from m3leo_prep.cli.listing import list_sources

    list_sources(as_json=as_json)


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the recipes that come with the package.

    Example: [bold]m3leo-prep recipes[/bold]
    """
    from m3leo_prep.cli.listing import list_recipes

    list_recipes(as_json=as_json)


@aoi_app.command("list")
def aoi_list(as_json: Json = False) -> None:
    """List the areas that come with the package.

    Example: [bold]m3leo-prep aoi list[/bold]
    """
    from m3leo_prep.cli.listing import list_aois

    list_aois(as_json=as_json)


@aoi_app.command("show")
def aoi_show(
    name: Annotated[str, typer.Argument(help="Name, country, file, WKT, or lon,lat,lon,lat box.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Show an area: extent, size, chips, origin.

    Example: [bold]m3leo-prep aoi show luxembourg[/bold]
    """
    from m3leo_prep.cli.listing import show_aoi

    show_aoi(name, yes=yes, as_json=as_json)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def complain(error: PrepError) -> None:
    """Write an error to standard error; as one JSON line where standard output carries JSON."""
    if "--json" in sys.argv:
        found: dict[str, Any] = {"error": type(error).__name__, "message": error.message}
        sys.stderr.write(json.dumps(found | {"where": error.where, "hint": error.hint}) + "\n")
        return
    place = f"{error.where}: " if error.where else ""
    sys.stderr.write(f"error: {place}{error.message}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")


def main() -> None:
    """Run the command line; the process ends with the exit code of what happened."""
    try:
        code = app(standalone_mode=False)
    except PrepError as error:
        complain(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except typer.Abort:
        sys.stderr.write("nothing was done\n")
        code = ConfigError.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001  the last line of defence names a bug as a bug
        code = _usage_or_bug(error)
    if code == EXIT_INTERRUPTED:  # the parser, too, turns Ctrl-C into this code
        sys.stderr.write("interrupted: what is finished is kept; run the same command again to go on\n")
    sys.exit(code if isinstance(code, int) else 0)


def _usage_or_bug(error: Exception) -> int:
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # wrong usage, explained by the parser
        error.show()
        return int(error.exit_code)
    traceback.print_exception(error)
    sys.stderr.write("error: this is a bug in m3leo-prep; please report it with the lines above\n")
    return 1
