"""The command line."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dp_core.errors import UserError
from search.cli.bench import app as bench_app
from search.cli.distillation import app as distill_app
from search.cli.environment import prepare_environment
from search.cli.interrupts import stoppable
from search.cli.runs import (
    AcceptOption,
    AddressOption,
    JsonOption,
    OverridesArgument,
    RunArgument,
    found_run,
    starting_command,
)
from search.output.json_rows import print_rows

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find small networks that are worth training.",
)
app.add_typer(bench_app, name="bench")
app.add_typer(distill_app, name="distill")

# In the order of `winnow --help`: what each kind of run is started by.
app.command("search")(
    starting_command("search", "Distil, screen candidates, retrain the best and print a leaderboard.")
)
app.command("prune")(
    starting_command(
        "comparison", "Compare ways of pruning on the same seeds and initial weights, and write tables and plots."
    )
)
app.command("proxy-eval")(
    starting_command(
        "proxies", "Say how well cheap scores rank architectures as real training does, and what they cost."
    )
)


@app.command()
def resume(
    run: RunArgument,
    overrides: OverridesArgument = None,
    accept_changes: AcceptOption = False,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a run, of whatever kind, on from wherever it stopped.

    Of every kind the keys that say where its files are (data.root) and what it may take (resources) can be changed; of
    a search many others, such as search.trials, and of a distillation the sizes of its steps.
    """
    from search.runs.life_cycle import Driver
    from search.runs.life_cycle import resume as resume_run
    from search.runs.progress import Progress

    found, kind = found_run(run)
    with stoppable(run):
        rows = resume_run(kind, found, Driver(address, Progress()), overrides or [], accepted=accept_changes)
    kind.show(rows, found.path, as_json)


@app.command()
def retrain(
    run: RunArgument,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Keys of 'retrain' to change, such as retrain.epochs=20."),
    ] = None,
    trial: Annotated[
        list[int] | None,
        typer.Option(help="A trial whose ticket is meant, once for each; default: those promoted.", show_default=False),
    ] = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train tickets of a search again from their beginning, longer or by another recipe; earlier models are kept."""
    from search.kinds.search import Search
    from search.kinds.search import retrain as retrain_tickets
    from search.runs.directory import find_run
    from search.runs.life_cycle import Driver
    from search.runs.progress import Progress

    found = find_run(run)
    with stoppable(run):
        rows = retrain_tickets(found, Driver(address, Progress()), trial or [], overrides or [])
    Search().show(rows, found.path, as_json)


@app.command()
def status(run: RunArgument, as_json: JsonOption = False) -> None:
    """Say how far a run is."""
    from search.cli.status import show_status
    from search.runs.record import judged_otherwise, read_run

    found, kind = found_run(run)
    recorded = read_run(found)
    apart = {"judged": judged_otherwise(recorded), "estimated_seconds": recorded.get("estimated_seconds")}
    show_status({"kind": kind.config.kind, **kind.status(found), **apart}, as_json)


@app.command()
def report(run: RunArgument, as_json: JsonOption = False) -> None:
    """Write the tables and plots of a run anew, and print them."""
    found, kind = found_run(run)
    kind.show(kind.report(found), found.path, as_json)


@app.command()
def doctor(
    as_json: JsonOption = False,
    ray: Annotated[bool, typer.Option(help="Start and stop Ray, which takes some seconds.")] = True,
) -> None:
    """Look at versions, devices, memory, disk, data and Ray."""
    from search.cli.doctor import check_ray, diagnose

    checks = diagnose([("CIFAR-10 mini", Path("assets/cifar10-mini"))], Path("runs"))
    if ray:
        checks.append(check_ray())
    if as_json:
        print_rows([asdict(check) for check in checks])
    else:
        table = Table.grid(padding=(0, 2))
        for check in checks:
            mark = {True: "[green]ok[/green]", False: "[red]no[/red]", None: "[yellow]--[/yellow]"}[check.ok]
            table.add_row(mark, f"[bold]{check.name}", check.detail)
        Console().print(table)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


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
