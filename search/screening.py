"""The second phase of a run: the trials."""

from __future__ import annotations

from dp_core.distillation import DistilledSet
from dp_core.distillation.base import standardisation_of
from search.checkpoints import CheckpointStore, absolute
from search.execution import Resources, run_trials, trial_directory
from search.monitor import ScreeningMonitor
from search.preparation import Preparation, scoring_images
from search.progress import Progress
from search.run_directory import RunDirectory
from search.study.record import StudyRecord
from search.tensorboard import TensorBoardLog
from search.tune_parts import StudyScheduler, StudySearcher
from trainables import Score, ScreeningContext, ScreeningTrainable, SharedDataset


def screen(
    run: RunDirectory,
    prepared: Preparation,
    record: StudyRecord,
    sets: dict[str, DistilledSet],
    board: TensorBoardLog,
    progress: Progress,
) -> None:
    """Run the trials that are still to be run."""
    storage = phase_storage(run, prepared, "screening")
    store = CheckpointStore(storage)
    session = store.next_session()
    progress.say(
        "screening", f"{record.unfinished} of {record.target} trials, {prepared.config.search.concurrency} at a time"
    )
    run_trials(
        ScreeningTrainable,
        _context(prepared, sets),
        storage=storage,
        session=session,
        resources=resources_of(prepared),
        callback=ScreeningMonitor(run, record, board, progress, prepared.splits.train.classes),
        trials=record.unfinished,
        searcher=StudySearcher(record, lambda number: store.newest(trial_directory(number))),
        scheduler=StudyScheduler(record, lambda number: (run.ticket(number) / "card.json").exists()),
    )


def phase_storage(run: RunDirectory, prepared: Preparation, phase: str) -> str:
    """Return the folder or URL in which a phase keeps its checkpoints."""
    storage = prepared.config.run.storage
    return str(run.path / phase) if storage is None else f"{absolute(storage)}/{prepared.config.run.name}/{phase}"


def resources_of(prepared: Preparation) -> Resources:
    """Return what the config gives a trial."""
    search = prepared.config.search
    return Resources(search.cpus_per_trial, search.gpus_per_trial, search.concurrency, search.max_failures)


def _context(prepared: Preparation, sets: dict[str, DistilledSet]) -> ScreeningContext:
    config, splits = prepared.config, prepared.splits
    score = config.search.score
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
        threads=config.search.cpus_per_trial,
        stream=config.data.stream,
    )
