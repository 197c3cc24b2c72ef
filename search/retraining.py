"""The third phase of a run: the promoted and the audited tickets, trained on real images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ray import tune
from ray.tune.experiment import Trial

from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError
from dp_core.pruning import Ticket
from search.checkpoints import CheckpointStore
from search.execution import run_trials, trial_directory
from search.lost_workers import PatientScheduler
from search.monitor import RetrainingMonitor, model_name, trial_of
from search.preparation import Preparation
from search.progress import Progress
from search.report.formats import plural
from search.run_directory import RunDirectory
from search.screening import phase_storage, resources_of
from search.tensorboard import TensorBoardLog
from trainables import RetrainingContext, RetrainingTrainable, SharedDataset
from trainables.trained_model import TrainedModel


def retrain(
    run: RunDirectory,
    prepared: Preparation,
    numbers: Sequence[int],
    board: TensorBoardLog,
    progress: Progress,
) -> set[int]:
    """Retrain the tickets of these trials that have not been, with every seed; return those that came to nothing.

    Raises:
        UserError: a disk is full.
    """
    settings = prepared.config.retrain
    missing = [
        (number, seed) for number in numbers for seed in range(settings.seeds) if not _is_sound(run.model(number, seed))
    ]
    if not missing:
        return set()
    for number, seed in missing:
        if run.model(number, seed).exists():
            progress.say("retraining", f"{run.model(number, seed)} is damaged: it is trained again")
    storage = phase_storage(run, prepared, "retraining")
    store = CheckpointStore(storage)
    session = store.next_session()

    def say(sentence: str) -> None:
        progress.say("retraining", sentence)

    jobs = [
        {"trial": number, "seed": seed, "resume_from": store.newest(trial_directory(number, seed), say)}
        for number, seed in missing
    ]
    run.enter("retraining")
    epochs, images = plural(settings.epochs, "epoch"), plural(len(prepared.splits.train), "image")
    progress.say("retraining", f"{plural(len(jobs), 'training')} of {epochs} on {images}")
    scheduler = _RetrainingScheduler(prepared.config.search.max_failures, prepared.config.search.round_seconds)
    monitor = RetrainingMonitor(run, scheduler, board, progress, settings.epochs * len(jobs))
    run_trials(
        RetrainingTrainable,
        _context(run, prepared, sorted({number for number, _ in missing})),
        storage=storage,
        session=session,
        resources=resources_of(prepared),
        callback=monitor,
        scheduler=scheduler,
        param_space={"job": tune.grid_search(jobs)},
    )
    scheduler.refuse_full_disk()
    for name, reason in {**scheduler.failures, **monitor.failures}.items():
        progress.say("retraining", f"{name} failed: {reason}")
    failed = {trial_of(name) for name in monitor.failures}
    return {number for number in failed if not any(run.model(number, seed).exists() for seed in range(settings.seeds))}


class _RetrainingScheduler(PatientScheduler):
    """Keeps the reasons of what is given up."""

    def __init__(self, max_losses: int, round_seconds: float | None) -> None:
        super().__init__(max_losses, round_seconds)
        self.failures: dict[str, str] = {}

    def given_up(self, trial: Trial, reason: str) -> None:
        """Keep the reason."""
        self.failures[model_name(trial)] = reason


def _is_sound(model: Path) -> bool:
    """Return whether the model is there and undamaged; otherwise it is trained again and replaced."""
    try:
        TrainedModel.load(model)
    except UserError:
        return False
    return True


def _context(run: RunDirectory, prepared: Preparation, numbers: list[int]) -> RetrainingContext:
    splits, config = prepared.splits, prepared.config
    return RetrainingContext(
        train=SharedDataset.of(splits.train),
        validation=SharedDataset.of(splits.validation),
        test=SharedDataset.of(splits.test),
        space=standardisation_of(splits.train),
        tickets={number: Ticket.load(run.ticket(number)) for number in numbers},
        recipe=prepared.retraining,
        epochs=config.retrain.epochs,
        seed=config.run.seed,
        threads=config.search.cpus_per_trial,
        stream=config.data.stream,
        round_seconds=config.search.round_seconds,
    )
