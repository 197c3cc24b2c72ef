"""What the commands that start runs have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_core.errors import UserError
from search.cli.interrupts import stoppable

if TYPE_CHECKING:
    from search.runs.directory import RunDirectory
    from search.runs.kind import Kind

ConfigArgument = Annotated[Path, typer.Argument(help="YAML file of the run.", show_default=False)]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys to change, such as run.seed=1.")
]
RunArgument = Annotated[str, typer.Argument(help="Path or name of the run.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Address of a running Ray cluster, such as 10.0.0.5:6379; default: Ray on this machine."),
]
ResumeOrStartOption = Annotated[
    bool,
    typer.Option(
        "--resume-or-start",
        help="Take the run up if its folder is there, and start it otherwise: for schedulers that try again.",
    ),
]
AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-changes", help="Go on with a config (here or in run.yaml) or modules of yours that were changed."
    ),
]


@dataclass(frozen=True)
class Beginning:
    """How a run is begun.

    Attributes:
        resume_or_start: whether it is taken up if it is there; otherwise its name must be free.
        accepted: whether it is taken up with a config or modules that were changed.
    """

    resume_or_start: bool
    accepted: bool


def starting_command(kind: str, summary: str) -> Callable[..., None]:
    """Return the command, with a help text that begins with `summary`, that starts runs of a kind."""

    def command(
        config: ConfigArgument,
        overrides: OverridesArgument = None,
        resume_or_start: ResumeOrStartOption = False,
        accept_changes: AcceptOption = False,
        address: AddressOption = None,
        as_json: JsonOption = False,
    ) -> None:
        begin(kind, config, overrides, Beginning(resume_or_start, accept_changes), address, as_json)

    command.__doc__ = summary
    return command


def begin(
    kind: str, path: Path, overrides: list[str] | None, beginning: Beginning, address: str | None, as_json: bool
) -> None:
    """Start a run of a kind by a config file, or take it up, and print what it comes to."""
    from search.config.loader import load_config
    from search.kinds import kind_named
    from search.runs.life_cycle import Driver, directory_of, resume_or_start, start
    from search.runs.progress import Progress

    if beginning.accepted and not beginning.resume_or_start:
        raise UserError("--accept-changes goes with --resume-or-start: a run that starts has no changes.")
    found = kind_named(kind)
    config: Any = load_config(found.config, path, overrides or [])
    driver, command = Driver(address, Progress()), ["winnow", *sys.argv[1:]]
    run = directory_of(config)
    with stoppable(str(config.run.directory / config.run.name), run.config.exists):
        if beginning.resume_or_start:
            rows = resume_or_start(found, config, str(path), command, driver, accepted=beginning.accepted)
        else:
            rows = start(found, config, str(path), command, driver)
    found.show(rows, run.path, as_json)


def found_run(run: str) -> tuple[RunDirectory, Kind[Any, Any]]:
    """Return the run of this path or name, and its kind.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    from search.kinds import kind_named
    from search.runs.directory import find_run
    from search.runs.record import kind_of, read_run

    found = find_run(run)
    return found, kind_named(kind_of(read_run(found)))
