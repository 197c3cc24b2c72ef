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
from search.cli.terminal import show_leaderboard, show_proxies, show_sets, show_status, show_study
from search.output.json_rows import of_leaderboard, print_rows

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find small networks that are worth training.",
)
app.add_typer(bench_app, name="bench")
app.add_typer(distill_app, name="distill")

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
    from search.pipeline.run import start
    from search.runs.progress import Progress

    settings = load_config(SearchConfig, config, overrides or [])
    with stoppable(str(settings.run.directory / settings.run.name)):
        rows = start(settings, str(config), ["winnow", *sys.argv[1:]], address, Progress())
    show_leaderboard(rows, settings.run.directory / settings.run.name, as_json)


@app.command()
def prune(
    config: Annotated[Path, typer.Argument(help="YAML file of the study.", show_default=False)],
    overrides: OverridesArgument = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare ways of pruning on the same seeds and initial weights, and write tables and plots."""
    from search.comparison.config import StudyConfig
    from search.comparison.run import start_study
    from search.config.loader import load_config
    from search.runs.progress import Progress

    settings = load_config(StudyConfig, config, overrides or [])
    folder = settings.run.directory / settings.run.name
    with stoppable(str(folder)):
        rows = start_study(settings, str(config), ["winnow", *sys.argv[1:]], address, Progress())
    show_study(rows, folder, as_json)


@app.command("proxy-eval")
def proxy_eval(
    config: Annotated[Path, typer.Argument(help="YAML file of the evaluation.", show_default=False)],
    overrides: OverridesArgument = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how well cheap scores rank architectures as real training does, and what they cost."""
    from search.config.loader import load_config
    from search.proxies.config import ProxyEvaluationConfig
    from search.proxies.run import start_proxies
    from search.runs.progress import Progress

    settings = load_config(ProxyEvaluationConfig, config, overrides or [])
    folder = settings.run.directory / settings.run.name
    with stoppable(str(folder)):
        rows = start_proxies(settings, str(config), ["winnow", *sys.argv[1:]], address, Progress())
    show_proxies(rows, folder, as_json)


@app.command()
def resume(
    run: RunArgument,
    overrides: OverridesArgument = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Go on with a config (here or in run.yaml) or modules of yours that were changed."
        ),
    ] = False,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a run, of whatever kind, on from wherever it stopped.

    Keys of a search can be changed, such as search.trials, and step sizes of a distillation; of every kind those of
    files that were moved: data.root.
    """
    from search.comparison.run import resume_study
    from search.distillation.run import resume_distillation
    from search.pipeline.run import resume as resume_search
    from search.proxies.run import resume_proxies
    from search.runs.directory import find_run
    from search.runs.kinds import DISTILLATION, PROXIES, STUDY, kind_of
    from search.runs.progress import Progress
    from search.runs.record import read_run

    found, progress = find_run(run), Progress()
    kind = kind_of(read_run(found))
    changes = overrides or [], accept_changes
    with stoppable(run):
        if kind == DISTILLATION:
            rows = resume_distillation(found, progress, *changes)
        elif kind == STUDY:
            rows = resume_study(found, address, progress, *changes)
        elif kind == PROXIES:
            rows = resume_proxies(found, address, progress, *changes)
        else:
            rows = resume_search(found, address, progress, *changes)
    show = {DISTILLATION: show_sets, STUDY: show_study, PROXIES: show_proxies}.get(kind, show_leaderboard)
    show(rows, found.path, as_json)


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
    from search.pipeline.retraining_again import retrain_again
    from search.runs.directory import find_run
    from search.runs.progress import Progress

    found = find_run(run)
    with stoppable(run):
        rows = retrain_again(found, address, Progress(), trial or [], overrides or [])
    show_leaderboard(rows, found.path, as_json)


@app.command()
def status(run: RunArgument, as_json: JsonOption = False) -> None:
    """Say how far a run is."""
    from search.comparison.status import study_status
    from search.distillation.status import distillation_status
    from search.pipeline.status import status_of
    from search.proxies.status import proxies_status
    from search.runs.directory import find_run
    from search.runs.kinds import DISTILLATION, PROXIES, STUDY, kind_of
    from search.runs.record import judged_otherwise, read_run

    found = find_run(run)
    recorded = read_run(found)
    kind = kind_of(recorded)
    kinds = {DISTILLATION: distillation_status, STUDY: study_status, PROXIES: proxies_status}
    told = kinds.get(kind, status_of)(found)
    apart = {"judged": judged_otherwise(recorded), "estimated_seconds": recorded.get("estimated_seconds")}
    show_status({"kind": kind, **told, **apart}, as_json)


@app.command()
def report(run: RunArgument, as_json: JsonOption = False) -> None:
    """Write the tables of a run anew, and the report of a search or the plots of other kinds; list distilled sets."""
    from search.comparison.run import rewrite_outputs
    from search.config.models import SearchConfig
    from search.distillation.run import recorded_plan, rows_of
    from search.pipeline.leaderboard import write_tables
    from search.pipeline.study_reading import trials_of
    from search.pipeline.tables import damaged_tables
    from search.proxies.run import rewrite_outputs as rewrite_proxies
    from search.report import write_report
    from search.runs.directory import find_run
    from search.runs.kinds import DISTILLATION, PROXIES, STUDY, kind_of
    from search.runs.record import config_of, read_run

    found = find_run(run)
    recorded = read_run(found)
    kind = kind_of(recorded)
    if kind == PROXIES:
        show_proxies(rewrite_proxies(found), found.path, as_json)
        return
    if kind == DISTILLATION:
        _, prepared = recorded_plan(found)
        show_sets(rows_of(prepared), found.path, as_json)
        return
    if kind == STUDY:
        show_study(rewrite_outputs(found), found.path, as_json)
        return
    for sentence in damaged_tables(found):
        print(f"{sentence} It is written anew from the study.", file=sys.stderr)
    rows = write_tables(found, trials_of(found, config_of(found, recorded, SearchConfig)))
    path = write_report(found.path)
    if as_json:
        print_rows(of_leaderboard(rows, found.path))
    else:
        print(path)


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
