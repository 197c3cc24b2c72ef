"""The life of a run, whatever its kind: it starts, or goes on from wherever it was, and ends with its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Generic

from dp_core.data.registry import check_format
from dp_core.errors import UserError, naming
from search.config.loader import override_config, with_names_of_today
from search.runs.changes import Change, agree, agreed_config, changes_between, moved, refuse_changes
from search.runs.directory import RunDirectory
from search.runs.folders import check_folder
from search.runs.images import say_data
from search.runs.kind import C, Fact, Kind, P
from search.runs.progress import Progress
from search.runs.record import (
    claimed,
    config_of,
    judged_otherwise,
    new_record,
    read_run,
    refuse_changed_data,
    refuse_changed_sets,
    refuse_taken,
    write_record,
)
from search.runs.sources import SOURCES, refuse_changed_sources
from search.runs.wanted import note_wanted

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Driver:
    """Where the jobs of a run are done, and who is told of it.

    Attributes:
        address: of a Ray cluster; None for a Ray on this machine.
        progress: is told what happens.
    """

    address: str | None
    progress: Progress

    @property
    def local(self) -> bool:
        """Whether jobs run on this machine."""
        return self.address is None

    def session(self, cpus: int) -> AbstractContextManager[None]:
        """Return a Ray for so many CPUs of jobs at a time; nothing for none."""
        if not cpus:
            return nullcontext()
        from search.runs.ray_session import ray_session  # importing Ray takes a second

        return ray_session(self.address, cpus)


def directory_of(config: C) -> RunDirectory:
    """Return the directory of the run that a config is of."""
    return RunDirectory((config.run.directory / config.run.name).resolve())


def start(kind: Kind[C, P], config: C, where: str, command: Sequence[str], driver: Driver) -> Rows:
    """Start a new run with the config read from `where` and take it to its end; return its rows.

    Raises:
        UserError: the name is taken, or a check failed, and nothing is left behind then; or nothing came out of it.
    """
    run = directory_of(config)
    # What can be told without importing PyTorch comes first.
    refuse_taken(run, config.run)
    with naming(where):
        check_folder(config.run.directory, "run.directory")
        config.check()
        with naming("data"):
            check_format(config.data.format, config.data.root)
    prepared = kind.prepare(kind.settled(config), run, where, local=driver.local)
    estimate = kind.estimate(prepared)
    for sentence in () if estimate is None else estimate.lines():
        driver.progress.say("estimate", sentence)
    with claimed(run, config.run), driver.session(kind.cpus(run, prepared)):
        record = new_record(command, prepared.config, prepared.splits, None if estimate is None else estimate.to_dict())
        # The record is first: a driver that is killed or stopped from here on leaves a run that can be resumed.
        write_record(run, {**record, **{fact.name: fact.value for fact in kind.facts(prepared)}})
        try:
            kind.begin(run, prepared)
        except Exception:
            run.config.unlink(missing_ok=True)
            raise
        agree(run, prepared.config)
        note_wanted(run, kind.wanted(prepared))
        return _advance(kind, run, prepared, driver.progress)


def resume(
    kind: Kind[C, P], run: RunDirectory, driver: Driver, overrides: Sequence[str] = (), *, accepted: bool = False
) -> Rows:
    """Take a run on from wherever it is; a finished one only writes its tables again.

    Args:
        kind: its kind.
        run: the run.
        driver: where its jobs are done.
        overrides: keys to change, `dotted.key=value`.
        accepted: whether changes of the config, by these or in run.yaml, and of the user's own modules are meant.

    Raises:
        UserError: the run cannot be read, its config, data or modules have changed, another process drives it, or
            nothing came out of it.
    """
    return _go_on(kind, run, _recorded_config(kind, run, overrides), driver, accepted=accepted)


def resume_or_start(
    kind: Kind[C, P], config: C, where: str, command: Sequence[str], driver: Driver, *, accepted: bool = False
) -> Rows:
    """Take up the run that a config is of if there is one, and start it otherwise: done twice, it is done once.

    Where the config is not the one that the run was last driven with, it is as if its keys were changed in `resume`.

    Raises:
        UserError: see `start` and `resume`.
    """
    run = directory_of(config)
    if not run.config.exists():
        return start(kind, config, where, command, driver)
    config_of(run, read_run(run), type(config))
    return _go_on(kind, run, kind.settled(config), driver, accepted=accepted)


@dataclass(frozen=True)
class Reopened(Generic[P]):
    """A run that may go on.

    Attributes:
        record: what run.yaml is to say.
        prepared: its config, checked, and its images.
        changes: of its config since it was last driven.
    """

    record: dict[str, Any]
    prepared: P
    changes: Sequence[Change]


def reopen(kind: Kind[C, P], run: RunDirectory, config: C, driver: Driver, *, accepted: bool) -> Reopened[P]:
    """Look whether a run may go on with a config, and say what is elsewhere now; nothing is written.

    Raises:
        UserError: it may not.
    """
    record = read_run(run)
    config = _where_it_is(run, config)
    tree, before = with_names_of_today(type(config), agreed_config(run) or record["config"], run.agreed)
    changes = changes_between(tree, config, lambda key: kind.meaning(run, before, key))
    refuse_changes(run, changes, accepted, kind.instead(run, before))
    record["config"] = config.in_full()
    record[SOURCES] = refuse_changed_sources(run, record, record["config"], accepted)
    prepared = kind.prepare(config, run, str(run.config), local=driver.local)
    refuse_changed_data(run, record, prepared.splits, config.data.place)
    refuse_changed_sets(run, record, kind.ready_sets(prepared))
    for fact in kind.facts(prepared):
        _refuse_changed_fact(run, record, fact, changes)
        record[fact.name] = fact.value
    if told := judged_otherwise(record):
        driver.progress.say("run", told)
    for change in moved(changes):
        driver.progress.say("run", f"{change}: moved, and the same")
    return Reopened(record, prepared, changes)


@contextmanager
def driven(kind: Kind[C, P], run: RunDirectory, found: Reopened[P], driver: Driver) -> Iterator[None]:
    """Hold the lock of a run that was reopened, with what a killed driver left swept away, and a Ray if it needs one.

    Raises:
        UserError: another process drives it, or Ray cannot be reached.
    """
    with run.locked():
        run.sweep()
        with driver.session(kind.cpus(run, found.prepared)):
            yield


def _go_on(kind: Kind[C, P], run: RunDirectory, config: C, driver: Driver, *, accepted: bool) -> Rows:
    run.refuse_driven()
    found = reopen(kind, run, config, driver, accepted=accepted)
    with driven(kind, run, found, driver):
        write_record(run, found.record)
        kind.changed(run, found.changes)
        agree(run, found.prepared.config)
        note_wanted(run, kind.wanted(found.prepared))
        return _advance(kind, run, found.prepared, driver.progress)


def _recorded_config(kind: Kind[C, P], run: RunDirectory, overrides: Sequence[str]) -> C:
    """Return the config that a run was last driven with, by run.yaml, with overrides on top."""
    model: type[C] = kind.config  # type: ignore[assignment]
    config = config_of(run, read_run(run), model)
    return kind.settled(override_config(model, config.in_full(), run.config, overrides) if overrides else config)


def _where_it_is(run: RunDirectory, config: C) -> C:
    """Return the config with the folder that the run is in, wherever it was started."""
    return config.model_copy(update={"run": config.run.model_copy(update={"directory": run.path.parent})})


def _refuse_changed_fact(run: RunDirectory, record: dict[str, Any], fact: Fact, changes: Sequence[Change]) -> None:
    if record.get(fact.name) != fact.value and not (fact.by_config and changes):
        raise UserError(f"The {fact.what} of the run {run.path} has changed since it started: {fact.where}.")


def _advance(kind: Kind[C, P], run: RunDirectory, prepared: P, progress: Progress) -> Rows:
    progress.say("run", f"{run.path}")
    say_data(prepared.splits, progress)
    try:
        kind.advance(run, prepared, progress)
    except BaseException:
        run.enter("reporting")
        # What ended the run is to be said, rather than that its tables cannot be written either.
        with suppress(UserError, OSError):
            kind.report(run)
        raise
    run.enter("reporting")
    rows = kind.report(run)
    kind.refuse_empty(run, prepared, rows)
    return rows
