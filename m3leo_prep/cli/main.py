"""The command ``m3leo-prep``: one function a command, errors turned into messages and exit codes."""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Annotated

import typer
from typer.core import TyperGroup

from m3leo_prep import __version__
from m3leo_prep.cli import completing
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

Aoi = Annotated[
    str,
    typer.Option("--aoi", help="Name, country, file, WKT, or lon,lat,lon,lat box.", autocompletion=completing.areas),
]
RecipeName = Annotated[
    str | None,
    typer.Option("--recipe", help="Name of a shipped recipe, or a YAML file.", autocompletion=completing.recipes),
]
Out = Annotated[str | None, typer.Option("--out", help="Folder of the dataset. Default: ./AOI-RECIPE.")]
Layers = Annotated[
    str | None,
    typer.Option("--layers", help="Only these layers, separated by commas.", autocompletion=completing.layers),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="Folder of the dataset.")]
Chip = Annotated[str, typer.Argument(metavar="CHIP", help="Chip id, or its row number.")]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="LAYER=NAME",
        help="Take a layer from another source that its recipe lists.",
        autocompletion=completing.layer_sources,
    ),
]
SampleSize = Annotated[int | None, typer.Option("--sample", min=1, help="Only about this many chips, spread out.")]
SampleBy = Annotated[
    str | None,
    typer.Option("--by", help="Spread the sample over: blocks, landcover or admin.", autocompletion=completing.by),
]
SkipBuffer = Annotated[bool, typer.Option("--skip-buffer", help="Leave out chips too near to another split.")]
PolicyName = Annotated[
    str | None, typer.Option("--policy", metavar="NAME", help="An added split policy. Default: the recipe's own.")
]
Budgets = Annotated[
    list[str] | None,
    typer.Option("--budget", metavar="NAME=NUMBER", help="Take no more: eecu-hours=100, requests=N, gigabytes=N."),
]
SampleSeed = Annotated[int | None, typer.Option("--seed", help="Of the sample. Default: 0.")]


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
    source: Sources = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Units built at a time. Default: one per core.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory for all workers, such as 8GB.")] = None,
    runner: Annotated[
        str, typer.Option(help="threads or processes; the result is the same.", autocompletion=completing.runners)
    ] = "threads",
    dask: Annotated[str | None, typer.Option("--dask", metavar="ADDRESS", help="Run on this Dask scheduler.")] = None,
    part: Annotated[str | None, typer.Option("--part", metavar="I/N", help="Only the I-th of N parts.")] = None,
    sample: SampleSize = None,
    by: SampleBy = None,
    seed: SampleSeed = None,
    skip_buffer: SkipBuffer = False,
    on_quota: Annotated[
        str,
        typer.Option(help="Where a provider allows no more for now: wait or stop.", autocompletion=completing.on_quota),
    ] = "stop",
    budget: Budgets = None,
    notify: Annotated[
        str | None, typer.Option(metavar="CMD", help="Shell command to run when it ends or waits.")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the sources again for what they have.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Plan, build, close and check a dataset; run again to resume. Without a recipe: m3leo.

    Example: [bold]m3leo-prep build --aoi demo --recipe demo --out demo[/bold]
    """
    from m3leo_prep.cli.building import run_build

    code = run_build(
        aoi,
        recipe,
        out,
        layers=_names(layers),
        sources=source or [],
        workers=workers,
        memory=memory,
        runner=runner,
        dask=dask,
        part=part,
        sample=sample,
        by=by,
        seed=seed,
        skip_buffer=skip_buffer,
        on_quota=on_quota,
        budget=budget or [],
        notify=notify,
        refresh=refresh,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command()
def plan(
    aoi: Aoi,
    recipe: RecipeName = None,
    layers: Layers = None,
    source: Sources = None,
    sample: SampleSize = None,
    by: SampleBy = None,
    seed: SampleSeed = None,
    skip_buffer: SkipBuffer = False,
    measure: Annotated[
        int, typer.Option("--measure", metavar="N", min=0, help="Read N windows of each layer to see what they cost.")
    ] = 0,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show what each source that a layer lists would take.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Show what a build would make and take; nothing is written. Without a recipe: m3leo.

    Example: [bold]m3leo-prep plan --aoi luxembourg --recipe demo[/bold]
    """
    from m3leo_prep.cli.building import run_plan

    run_plan(
        aoi,
        recipe,
        layers=_names(layers),
        sources=source or [],
        sample=sample,
        by=by,
        seed=seed,
        skip_buffer=skip_buffer,
        measure=measure,
        compare=compare,
        yes=yes,
        as_json=as_json,
    )


@app.command()
def finalize(dataset: DatasetPath, layers: Layers = None, as_json: Json = False) -> None:
    """Close a dataset that was built in parts, and check it.

    Example: [bold]m3leo-prep finalize europe-m3leo[/bold]
    """
    from m3leo_prep.cli.building import run_finalize

    raise typer.Exit(run_finalize(dataset, layers=_names(layers), as_json=as_json))


@app.command()
def status(dataset: DatasetPath, as_json: Json = False) -> None:
    """Show how far a build is, here or elsewhere: done, running, waiting, holes.

    Example: [bold]m3leo-prep status europe-m3leo[/bold]
    """
    from m3leo_prep.cli.following import run_status

    run_status(dataset, as_json=as_json)


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
def show(
    dataset: DatasetPath,
    chip: Chip,
    out: Annotated[str | None, typer.Option("--out", "-o", help="Picture to write. Default: ./CHIP.png.")] = None,
    layers: Layers = None,
    as_json: Json = False,
) -> None:
    """Draw a chip: every layer and slot, legends, scale, and what is missing and why.

    Example: [bold]m3leo-prep show demo 0 -o chip.png[/bold]
    """
    from m3leo_prep.cli.looking import run_show

    run_show(dataset, chip, out=out, layers=_names(layers), as_json=as_json)


@app.command()
def explain(
    dataset: DatasetPath,
    chip: Chip,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="Layer, or LAYER.VARIABLE.")],
    x: Annotated[int | None, typer.Argument(min=0, metavar="[X]", help="Column of the pixel, from the left.")] = None,
    y: Annotated[int | None, typer.Argument(min=0, metavar="[Y]", help="Row of the pixel, from the top.")] = None,
    slot: Annotated[str | None, typer.Option(help="Only this slot.")] = None,
    as_json: Json = False,
) -> None:
    """Tell where a chip's pixels, or one of them, came from: scenes, weights, kernel, code, value, reason.

    Example: [bold]m3leo-prep explain demo 0 s1 100 50[/bold]
    """
    from m3leo_prep.cli.explaining import run_explain

    run_explain(dataset, chip, layer, x=x, y=y, slot=slot, as_json=as_json)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="Folder of a dataset.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Folder of another.")],
    layers: Layers = None,
    as_json: Json = False,
) -> None:
    """Compare the values of two datasets, layer by layer, chip by chip.

    Example: [bold]m3leo-prep diff demo demo-again[/bold]
    """
    from m3leo_prep.cli.explaining import run_diff

    run_diff(a, b, layers=_names(layers), as_json=as_json)


@app.command()
def split(
    dataset: DatasetPath,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", help="Rule to add. Default: show those there are.", autocompletion=completing.policies
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the column split_NAME. Default: the policy's.")] = None,
    shares: Annotated[str | None, typer.Option("--shares", help="train/val/test in percent: 60/20/20.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Another seed, another split.")] = None,
    block_km: Annotated[float | None, typer.Option("--block-km", help="Side of a block, width of a band.")] = None,
    buffer_km: Annotated[float | None, typer.Option("--buffer-km", help="Distance kept between splits.")] = None,
    correlation_km: Annotated[
        float | None, typer.Option("--correlation-km", help="Range over which labels resemble each other.")
    ] = None,
    buffer_side: Annotated[str | None, typer.Option("--buffer-side", help="Split that yields first.")] = None,
    angle: Annotated[float | None, typer.Option("--angle", help="Of bands in degrees, of geetiles in radians.")] = None,
    n_bands: Annotated[int | None, typer.Option("--n-bands", help="Of geetiles.")] = None,
    file: Annotated[str | None, typer.Option("--file", help="A csv with chip_id and split.")] = None,
    region: Annotated[
        list[str] | None, typer.Option("--region", metavar="SPLIT=AREA", help="Area held out: test=italy.")
    ] = None,
    admin: Annotated[str | None, typer.Option("--admin", help="File of units. Default: the recipe's.")] = None,
    admin_id: Annotated[str | None, typer.Option("--admin-id", help="Its column of ids.")] = None,
    stratify: Annotated[
        str | None, typer.Option("--stratify", help="Label layer that stratifies label budgets.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a split policy to a dataset, or show its splits; pixels are not touched.

    Example: [bold]m3leo-prep split europe-m3leo --policy region --region test=italy[/bold]
    """
    from m3leo_prep.cli.splitting import run_split

    run_split(
        dataset,
        policy=policy,
        name=name,
        shares=shares,
        seed=seed,
        block_km=block_km,
        buffer_km=buffer_km,
        correlation_km=correlation_km,
        buffer_side=buffer_side,
        angle=angle,
        n_bands=n_bands,
        file=file,
        regions=region or [],
        admin=admin,
        admin_id=admin_id,
        stratify=stratify,
        as_json=as_json,
    )


@app.command()
def stats(dataset: DatasetPath, policy: PolicyName = None, layers: Layers = None, as_json: Json = False) -> None:
    """Show each band's statistics, from train alone; for an added policy they are made first.

    Example: [bold]m3leo-prep stats demo[/bold]
    """
    from m3leo_prep.cli.statistics import run_stats

    run_stats(dataset, policy=policy, layers=_names(layers), as_json=as_json)


@app.command()
def report(
    dataset: DatasetPath,
    out: Annotated[str | None, typer.Option("--out", "-o", help="Page to write. Default: DATASET-report.html.")] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page about a dataset: map, pictures, labels, splits, leakage, what is missing and why.

    Example: [bold]m3leo-prep report demo -o demo.html[/bold]
    """
    from m3leo_prep.cli.reporting import run_report

    run_report(dataset, out=out, as_json=as_json)


@app.command()
def export(
    dataset: DatasetPath,
    chips: Annotated[str, typer.Option(help="Chip ids or rows, separated by commas.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder to write to.")] = "export",
    format: Annotated[  # noqa: A002  the option's name
        str, typer.Option("--format", help="geotiff, png, netcdf or webdataset.", autocompletion=completing.formats)
    ] = "geotiff",
    layers: Layers = None,
    as_json: Json = False,
) -> None:
    """Write a few chips in the formats of other tools.

    Example: [bold]m3leo-prep export demo --chips 0,1 --format geotiff --out tifs[/bold]
    """
    from m3leo_prep.cli.exporting import run_export

    run_export(dataset, _names(chips) or [], format, out=out, layers=_names(layers), as_json=as_json)


@app.command()
def publish(
    dataset: DatasetPath,
    target: Annotated[
        str,
        typer.Argument(metavar="REPO", help="OWNER/NAME on the Hugging Face Hub, s3://BUCKET/PREFIX, or ./FOLDER."),
    ],
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False,
    revision: Annotated[str | None, typer.Option("--revision", help="Branch of the repository. Default: main.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; write nothing.")] = False,
    licence: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Licence of the whole. Default: what inputs allow.")
    ] = None,
    allow_holes: Annotated[
        bool, typer.Option("--allow-holes", help="Publish although a later build may fill some holes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check, describe and upload a dataset; run again to resume or to update.

    Example: [bold]m3leo-prep publish demo me/demo --dry-run[/bold]
    """
    from m3leo_prep.cli.publishing import run_publish

    run_publish(
        dataset,
        target,
        private=private,
        revision=revision,
        dry_run=dry_run,
        licence=licence,
        allow_holes=allow_holes,
        as_json=as_json,
    )


@app.command()
def pull(
    source: Annotated[
        str, typer.Argument(metavar="REPO", help="OWNER/NAME on the Hub, an address, or a dataset's folder.")
    ],
    folder: Annotated[
        str | None, typer.Argument(metavar="FOLDER", help="To write to. Default: the dataset's name.")
    ] = None,
    layers: Layers = None,
    split: Annotated[str | None, typer.Option("--split", help="Only chips of this split, such as test.")] = None,
    policy: PolicyName = None,
    as_json: Json = False,
) -> None:
    """Fetch a published dataset, or a part of it; run again to resume, or for more.

    Example: [bold]m3leo-prep pull me/demo --split test --layers s1[/bold]
    """
    from m3leo_prep.cli.publishing import run_pull

    run_pull(source, folder, layers=_names(layers), split=split, policy=policy, as_json=as_json)


@app.command()
def doctor(recipe: RecipeName = None, as_json: Json = False) -> None:
    """Check this machine, and the logins and packages that a recipe needs; say what to do next.

    Example: [bold]m3leo-prep doctor --recipe demo[/bold]
    """
    from m3leo_prep.cli.doctoring import run_doctor

    raise typer.Exit(run_doctor(recipe, as_json=as_json))


@app.command()
def login(
    provider: Annotated[
        str | None,
        typer.Argument(metavar="PROVIDER", help="Leave out to list them.", autocompletion=completing.providers),
    ] = None,
    as_json: Json = False,
) -> None:
    """Store a provider's login where its official client looks for it, readable by you alone.

    Example: [bold]m3leo-prep login earthdata[/bold]
    """
    from m3leo_prep.cli.doctoring import run_login

    run_login(provider, as_json=as_json)


@app.command("check-source")
def check_source(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="./my_source.py, ./my_source.py:Class or a name.", autocompletion=completing.sources
        ),
    ],
    options: Annotated[list[str] | None, typer.Argument(metavar="[OPTION=VALUE]...", help="Of the source.")] = None,
    aoi: Annotated[str | None, typer.Option("--aoi", help="Where it has data. Default: it is looked for.")] = None,
    slots: Annotated[str | None, typer.Option("--slots", help="When it has data, as YAML of a recipe's slots.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that one check may take.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Run the rules that every source must keep on yours; failures say what to change.

    Example: [bold]m3leo-prep check-source ./my_source.py[/bold]
    """
    from m3leo_prep.cli.source_checking import run_check_source

    run_check_source(source, options or [], aoi=aoi, slots=slots, timeout=timeout, as_json=as_json)


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
    name: Annotated[
        str, typer.Argument(help="Name, country, file, WKT, or lon,lat,lon,lat box.", autocompletion=completing.areas)
    ],
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
    _tell(type(error).__name__, error.message, where=error.where, hint=error.hint)


def _tell(kind: str, message: str, *, where: str = "", hint: str = "") -> None:
    if "--json" in sys.argv:
        sys.stderr.write(json.dumps({"error": kind, "message": message, "where": where, "hint": hint}) + "\n")
        return
    place = f"{where}: " if where else ""
    sys.stderr.write(f"error: {place}{message}\n")
    if hint:
        sys.stderr.write(f"hint: {hint}\n")


@cache
def _command() -> TyperGroup:
    """Return the parser of every command, made once in a process: it costs as much as a small command."""
    made = typer.main.get_command(app)
    assert isinstance(made, TyperGroup)
    return made


def main() -> None:
    """Run the command line; the process ends with the exit code of what happened."""
    atexit.register(gc.freeze)  # a search for garbage in all that was imported would take a third of a second
    try:
        with _json_alone() if "--json" in sys.argv else nullcontext():
            code = _command()(standalone_mode=False, prog_name="m3leo-prep")
    except PrepError as error:
        complain(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except typer.Abort:
        _tell("Abort", "nothing was done")
        code = ConfigError.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001  the last line of defence names a bug as a bug
        code = _usage_or_bug(error)
    if code == EXIT_INTERRUPTED:  # the parser, too, turns Ctrl-C into this code
        told = "what is finished is kept; run the same command again to go on"
        if "--json" in sys.argv:
            _tell("Interrupted", told)
        else:
            sys.stderr.write(f"interrupted: {told}\n")
    sys.exit(code if isinstance(code, int) else 0)


def _json_alone() -> AbstractContextManager[None]:
    from m3leo_prep.cli.render import json_alone

    return json_alone()


def _usage_or_bug(error: Exception) -> int:
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # wrong usage, explained by the parser
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "m3leo-prep"
        _tell("UsageError", error.format_message(), hint=f"{command} --help")
        return int(error.exit_code)
    traceback.print_exception(error)
    _tell("Bug", "this is a bug in m3leo-prep; please report it with the lines above")
    return 1
