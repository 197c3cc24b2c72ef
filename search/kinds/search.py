"""The kind of run that `winnow search` starts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_core.errors import UserError
from search import pipeline, report
from search.config.meaning import FIXED, Meaning
from search.config.models import SearchConfig
from search.output.json_rows import print_rows
from search.output.terminal import console_of_width
from search.runs.changes import Change, Key
from search.runs.directory import RunDirectory
from search.runs.kind import Kind, Row
from search.runs.life_cycle import Driver, driven, reopen
from search.runs.progress import Progress
from search.runs.record import config_of, read_run

if TYPE_CHECKING:
    from dp_core.distillation import DistilledSet
    from search.runs.estimate import Estimate


class Search(Kind[SearchConfig, "pipeline.Preparation"]):
    """A search for small networks that are worth training."""

    config = SearchConfig

    def settled(self, config: SearchConfig) -> SearchConfig:
        """See `Kind`."""
        return pipeline.settled(config)

    def prepare(self, config: SearchConfig, run: RunDirectory, where: str, *, local: bool) -> pipeline.Preparation:
        """See `Kind`."""
        pipeline.refuse_lost_study(run, config)
        prepared = pipeline.prepare(config, where, local=local)
        if not run.config.exists():
            pipeline.refuse_used_storage(run, prepared)
            pipeline.refuse_used_database(config)
        return prepared

    def estimate(self, prepared: pipeline.Preparation) -> Estimate:
        """See `Kind`."""
        return pipeline.estimate_search(prepared, pipeline.wanted_sets(prepared))

    def begin(self, run: RunDirectory, prepared: pipeline.Preparation) -> None:
        """See `Kind`."""
        pipeline.make_study(run, prepared.config)

    def ready_sets(self, prepared: pipeline.Preparation) -> Mapping[str, DistilledSet]:
        """See `Kind`."""
        return {f"distilled-{ipc}": found for ipc, found in prepared.ready.items()}

    def meaning(self, run: RunDirectory, config: SearchConfig, key: Key) -> Meaning | None:
        """See `Kind`: the last rung of a ladder trains by the recipe of retraining, for epochs of its own."""
        return FIXED if config.search.ladder.real_epochs and key[:2] == ("retrain", "recipe") else None

    def instead(self, run: RunDirectory, config: SearchConfig) -> str:
        """See `Kind`."""
        return f" with search.start.runs=[{run.path}] to learn from this one"

    def changed(self, run: RunDirectory, changes: Sequence[Change]) -> None:
        """See `Kind`."""
        if any(change.key[0] == "promote" for change in changes):
            pipeline.set_aside(run.promotion)

    def cpus(self, run: RunDirectory, prepared: pipeline.Preparation) -> int:
        """See `Kind`: also a finished search may have tickets or models to mend."""
        return prepared.config.resources.cpus

    def advance(self, run: RunDirectory, prepared: pipeline.Preparation, progress: Progress) -> None:
        """See `Kind`."""
        pipeline.advance(run, prepared, progress)

    def report(self, run: RunDirectory) -> list[dict[str, Any]]:
        """See `Kind`; what is damaged and written anew is said on standard error."""
        for sentence in pipeline.damaged_tables(run):
            print(f"{sentence} It is written anew from the study.", file=sys.stderr)
        rows = pipeline.write_tables(run, pipeline.trials_of(run, config_of(run, read_run(run), SearchConfig)))
        report.write_report(run.path)
        return rows

    def refuse_empty(self, run: RunDirectory, prepared: pipeline.Preparation, rows: Sequence[Row]) -> None:
        """See `Kind`."""
        recipe = prepared.config.retrain.methods()[0].key
        if not any(row["recipe"] == recipe for row in rows):
            raise UserError(f"No ticket of the run {run.path} could be retrained: {pipeline.told_ends(run, recipe)}")

    def status(self, run: RunDirectory) -> dict[str, Any]:
        """See `Kind`."""
        return pipeline.status_of(run)

    def show(self, rows: Sequence[Row], run: Path, as_json: bool) -> None:
        """See `Kind`."""
        if as_json:
            print_rows(pipeline.with_models(rows, RunDirectory(run)))
            return
        console = console_of_width(140)
        console.print(pipeline.leaderboard_sheet(rows))
        if (recipes := pipeline.recipes_sheet(rows)) is not None:
            console.print(recipes)
        for end in pipeline.read_bad_ends(RunDirectory(run).bad_ends):
            console.print(f"Came to nothing: {end.sentence}", highlight=False, markup=False)
        console.print(f"Report: {run / 'report.html'}", highlight=False)
        console.print(f"Curves: tensorboard --logdir {run / 'tensorboard'}", highlight=False)


def retrain(
    run: RunDirectory, driver: Driver, numbers: Sequence[int], overrides: Sequence[str]
) -> list[dict[str, Any]]:
    """Train tickets of a search by its config with some keys of `retrain` changed; return the leaderboard.

    Args:
        run: the run.
        driver: where the trainings are done.
        numbers: trials whose tickets are wanted; none for the promoted ones.
        overrides: keys of `retrain` to change, `retrain.key=value`.

    Raises:
        UserError: the run cannot be read, has changed or is driven by another process; a trial has no ticket; a key is
            not one of `retrain`; or no ticket could be retrained.
    """
    kind = Search()
    run.refuse_driven()
    config = config_of(run, read_run(run), SearchConfig)
    asked = pipeline.asked_config(run, config, overrides)
    found = reopen(kind, run, config, driver, accepted=False)
    request = pipeline.requested(run, asked, numbers)
    prepared = kind.prepare(asked, run, str(run.config), local=driver.local)
    with driven(kind, run, found, driver):
        try:
            pipeline.retrain_again(run, prepared, request, driver.progress)
        finally:
            rows = kind.report(run)
    pipeline.refuse_no_model(run, request)
    return rows
