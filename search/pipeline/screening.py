"""The second phase of a run: the trials."""

from __future__ import annotations

from collections.abc import Mapping

from dp_core.distillation import DistilledSet
from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError
from search.pipeline.monitor import ScreeningMonitor
from search.pipeline.preparation import Preparation
from search.pipeline.tensorboard import TensorBoardLog
from search.runs.checks import scoring_images
from search.runs.directory import RunDirectory, where_tracebacks
from search.runs.progress import Progress
from search.study.record import StudyRecord
from search.tune.checkpoints import CheckpointStore, absolute
from search.tune.execution import run_trials, trial_directory
from search.tune.study_parts import HaltStopper, StudyScheduler, StudySearcher
from trainables import LadderPlan, Score, ScreeningContext, ScreeningTrainable, SharedDataset


def screen(
    run: RunDirectory,
    prepared: Preparation,
    record: StudyRecord,
    sets: Mapping[str, DistilledSet],
    board: TensorBoardLog,
    progress: Progress,
) -> None:
    """Run the trials that are still to be run.

    Raises:
        UserError: the run was stopped before its target, see `StudyRecord.halt`.
    """
    search, resources = prepared.config.search, prepared.config.resources
    storage = phase_storage(run, prepared, "screening")
    store = CheckpointStore(storage)
    run.enter("screening")
    if record.used_up:
        progress.say("screening", record.used_up)
    progress.say("screening", f"{record.unfinished} of {record.target} trials, {resources.concurrency} at a time")
    scheduler = StudyScheduler(
        record, lambda number: (run.ticket(number) / "card.json").exists(), resources.max_failures, search.round_seconds
    )
    run_trials(
        ScreeningTrainable,
        screening_context(prepared, sets),
        storage=storage,
        session=store.next_session(),
        resources=resources,
        callback=ScreeningMonitor(run, record, scheduler, board, progress),
        trials=record.unfinished,
        searcher=StudySearcher(
            record,
            lambda number: store.newest(trial_directory(number), lambda text: progress.say("screening", text)),
            run.path,
        ),
        scheduler=scheduler,
        stopper=HaltStopper(lambda: record.halted is not None),
    )
    if record.used_up:
        progress.say("screening", record.used_up)
    if record.halted is not None:
        raise UserError(
            f"{record.halted}{where_tracebacks(run)} What has ended is kept; go on with: winnow resume {run.path}"
        )


def phase_storage(run: RunDirectory, prepared: Preparation, phase: str) -> str:
    """Return the folder or URL in which a phase keeps its checkpoints."""
    storage = prepared.config.run.storage
    return str(run.path / phase) if storage is None else f"{absolute(storage)}/{prepared.config.run.name}/{phase}"


def screening_context(prepared: Preparation, sets: Mapping[str, DistilledSet]) -> ScreeningContext:
    """Return what all trials of the search share."""
    config, splits = prepared.config, prepared.splits
    score, ladder = config.search.score, config.search.ladder
    return ScreeningContext(
        train=SharedDataset.of(splits.train),
        validation=SharedDataset.of(
            scoring_images(splits.validation, config.screen.validation_images, config.run.seed)
        ),
        sets=sets,
        space=standardisation_of(splits.train),
        prune_fraction=config.screen.prune_fraction,
        criterion=config.screen.criterion,
        rewind_step=config.screen.rewind_step,
        replicates=config.screen.replicates,
        score=Score(score.target_parameters, score.exponent),
        seed=config.run.seed,
        threads=config.resources.cpus_per_job,
        stream=config.data.stream,
        round_seconds=config.search.round_seconds,
        ladder=LadderPlan(ladder.zero_cost, ladder.ipc, ladder.real_epochs, prepared.retraining),
    )
