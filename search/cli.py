"""The command line."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dp_core.errors import UserError
from search.bench import app as bench_app
from search.environment import prepare_environment

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find small networks that are worth training.",
)
app.add_typer(bench_app, name="bench")

ConfigArgument = Annotated[Path, typer.Argument(help="YAML file of the search.", show_default=False)]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys to change, such as run.seed=1.")
]
RunArgument = Annotated[str, typer.Argument(help="Path or name of the run.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Address of a running Ray cluster, such as 10.0.0.5:6379; default: Ray on this machine."),
]


@app.command()
def search(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Distil, screen candidates, retrain the best and print a leaderboard."""
    from search.config.loader import load_config
    from search.config.models import SearchConfig
    from search.progress import Progress
    from search.run import start

    settings = load_config(SearchConfig, config, overrides or [])
    with _stoppable(str(settings.run.directory / settings.run.name)):
        rows = start(settings, str(config), ["winnow", *sys.argv[1:]], address, Progress())
    _show_leaderboard(rows, settings.run.directory / settings.run.name, as_json)


@app.command()
def prune(
    config: Annotated[Path, typer.Argument(help="YAML file of the study.", show_default=False)],
    overrides: OverridesArgument = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare ways of pruning on the same seeds and initial weights, and write tables and plots."""
    from search.config.loader import load_config
    from search.progress import Progress
    from search.prune.config import StudyConfig
    from search.prune.study import start_study

    settings = load_config(StudyConfig, config, overrides or [])
    folder = settings.run.directory / settings.run.name
    with _stoppable(str(folder)):
        rows = start_study(settings, str(config), ["winnow", *sys.argv[1:]], address, Progress())
    _show_study(rows, folder, as_json)


@app.command()
def resume(run: RunArgument, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Take a run, of a search or a study of pruning methods, on from wherever it stopped."""
    from search.progress import Progress
    from search.prune.study import resume_study
    from search.run import resume as resume_run
    from search.run_directory import find_run
    from search.run_record import is_study, read_run

    found = find_run(run)
    if is_study(read_run(found)):
        with _stoppable(run):
            rows = resume_study(found, address, Progress())
        _show_study(rows, found.path, as_json)
        return
    with _stoppable(run):
        rows = resume_run(found, address, Progress())
    _show_leaderboard(rows, found.path, as_json)


@app.command()
def status(run: RunArgument, as_json: JsonOption = False) -> None:
    """Say how far a run is."""
    from search.prune.status import study_status
    from search.run_directory import find_run
    from search.run_record import is_study, read_run
    from search.status import status_of

    directory = find_run(run)
    found = study_status(directory) if is_study(read_run(directory)) else status_of(directory)
    if as_json:
        print(json.dumps(found))
        return
    table = Table.grid(padding=(0, 2))
    for key, value in found.items():
        table.add_row(f"[bold]{key.replace('_', ' ')}", str(value))
    Console().print(table)


@app.command()
def report(run: RunArgument, as_json: JsonOption = False) -> None:
    """Write the tables of a run anew, and the report.html of a search or the plots of a study."""
    from search.collecting import write_tables
    from search.prune.study import rewrite_outputs
    from search.record import read_trials
    from search.report import write_report
    from search.run_directory import find_run
    from search.run_record import is_study, read_run

    found = find_run(run)
    if is_study(read_run(found)):
        _show_study(rewrite_outputs(found), found.path, as_json)
        return
    rows = write_tables(found, read_trials(found.journal))
    path = write_report(found.path)
    if as_json:
        print(json.dumps({"report": str(path), "leaderboard": rows}))
    else:
        print(path)


@app.command()
def doctor(
    as_json: JsonOption = False,
    ray: Annotated[bool, typer.Option(help="Start and stop Ray, which takes some seconds.")] = True,
) -> None:
    """Look at versions, devices, memory, disk, data and Ray."""
    from search.doctor import check_ray, diagnose

    checks = diagnose([("CIFAR-10 mini", Path("assets/cifar10-mini"))], Path("runs"))
    if ray:
        checks.append(check_ray())
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        table = Table.grid(padding=(0, 2))
        for check in checks:
            mark = {True: "[green]ok[/green]", False: "[red]no[/red]", None: "[yellow]--[/yellow]"}[check.ok]
            table.add_row(mark, f"[bold]{check.name}", check.detail)
        Console().print(table)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


@contextmanager
def _stoppable(run: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a clean end that says how to go on, and keep standard output for the result."""
    stopped = False

    def interrupt(number: int, frame: Any) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with redirect_stdout(sys.stderr):
            yield
    except BaseException:
        # A library that was interrupted while it cleaned up may raise something else over the KeyboardInterrupt.
        if not stopped:
            raise
        print(f"\nStopped. Nothing that was finished is lost; go on with: winnow resume {run}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _show_study(rows: list[dict[str, Any]], run: Path, as_json: bool) -> None:
    from search.prune.tables import prune_tables

    if as_json:
        print(json.dumps(rows))
        return
    console = Console() if sys.stdout.isatty() else Console(width=180)
    for table in prune_tables(rows):
        console.print(table)
    if rows:
        console.print(f"Tables and plots: {run / 'results.md'}, {run / 'figures'}", highlight=False)


def _show_leaderboard(rows: list[dict[str, Any]], run: Path, as_json: bool) -> None:
    from search.tables import leaderboard_table

    if as_json:
        print(json.dumps(rows))
        return
    # In a log file or a pipe a table is as wide as it needs to be.
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(leaderboard_table(rows))
    console.print(f"Report: {run / 'report.html'}", highlight=False)
    console.print(f"Curves: tensorboard --logdir {run / 'tensorboard'}", highlight=False)


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit status 2."""
    prepare_environment()
    # A user's own `package.module:function` is looked for where winnow was started; Ray hands the path on to workers.
    sys.path.insert(0, str(Path.cwd()))
    try:
        app()
    except UserError as error:
        print(f"winnow: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A full disk, a folder that cannot be written: what is on disk is whole, as every file is renamed into place.
        print(f"winnow: {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
