"""Runs that take no other changes when they are resumed than where their files are: all kinds but the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

from search.config.loader import override_config
from search.runs.changes import refuse_all_but_moves
from search.runs.directory import RunDirectory
from search.runs.kinds import described, kind_for
from search.runs.progress import Progress
from search.runs.record import C, config_of, dumped, judged_otherwise, read_run, write_record
from search.runs.sources import SOURCES, refuse_changed_sources


@dataclass(frozen=True)
class Reopened(Generic[C]):
    """A run that is to be taken on.

    Attributes:
        recorded: what run.yaml is to say.
        config: what the run goes on with.
        moved: what is elsewhere now, as `key: before → after`.
    """

    recorded: dict[str, Any]
    config: C
    moved: Sequence[str]


def reopen(run: RunDirectory, model: type[C], overrides: Sequence[str], accepted: bool) -> Reopened[C]:
    """Return a run of a kind whose config cannot be changed but for where its files are.

    Args:
        run: the run.
        model: of its config.
        overrides: where things are now, `dotted.key=path`.
        accepted: whether the user's own modules may have changed.

    Raises:
        UserError: something else was changed, or the user's modules were.
    """
    recorded = read_run(run)
    config, moved = config_of(run, recorded, model), []
    if overrides:
        config = override_config(model, recorded["config"], run.config, overrides)
        moved = refuse_all_but_moves(run, described(kind_for(model)), recorded["config"], dumped(config))
        recorded["config"] = dumped(config)
    recorded[SOURCES] = refuse_changed_sources(run, recorded, recorded["config"], accepted)
    return Reopened(recorded, config, moved)


def write_reopened(run: RunDirectory, found: Reopened[C], progress: Progress) -> None:
    """Write run.yaml of a run that was found to be what it was, and say what was moved; the lock must be held."""
    if told := judged_otherwise(found.recorded):
        progress.say("run", told)
    for change in found.moved:
        progress.say("run", f"{change}: moved, and the same")
    if found.recorded != read_run(run):
        write_record(run, found.recorded)
