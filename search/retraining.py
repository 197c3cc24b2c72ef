"""The third phase of a run: the best tickets, trained on real images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState
from ray import tune

from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError
from dp_core.pruning import Ticket
from search.checkpoints import CheckpointStore
from search.config.models import PromoteSection
from search.execution import run_trials, trial_directory
from search.monitor import RetrainingMonitor
from search.preparation import Preparation
from search.progress import Progress
from search.run_directory import RunDirectory
from search.screening import phase_storage, resources_of
from search.study.strata import source_of
from search.tensorboard import TensorBoardLog
from trainables import RetrainingContext, RetrainingTrainable, SharedDataset
from trainables.trained_model import TrainedModel


def promote(trials: Sequence[FrozenTrial], settings: PromoteSection) -> list[int]:
    """Return the numbers of the finished trials to retrain: the best of each source, then the second of each.

    Within a rank and within a source the higher score goes first, among equal scores the earlier trial.

    Raises:
        UserError: no trial finished.
    """
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    if not finished:
        counts = Counter(trial.state.name for trial in trials)
        listed = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        raise UserError(f"No trial reached its sparsity, so there is nothing to retrain ({listed}).")
    by_score = sorted(finished, key=lambda trial: (-(trial.value or 0.0), trial.number))
    met: Counter[str | None] = Counter()
    ranked = []
    for position, trial in enumerate(by_score):
        ranked.append((met[source_of(trial)], position, trial.number))
        met[source_of(trial)] += 1
    return [number for _, _, number in sorted(ranked)[: settings.top]]


def retrain(
    run: RunDirectory,
    prepared: Preparation,
    promoted: list[int],
    board: TensorBoardLog,
    progress: Progress,
) -> None:
    """Retrain the promoted tickets that have not been, with every seed."""
    settings = prepared.config.retrain
    missing = [
        (number, seed)
        for number in promoted
        for seed in range(settings.seeds)
        if not _is_sound(run.model(number, seed))
    ]
    if not missing:
        return
    storage = phase_storage(run, prepared, "retraining")
    store = CheckpointStore(storage)
    session = store.next_session()
    jobs = [
        {"trial": number, "seed": seed, "resume_from": store.newest(trial_directory(number, seed))}
        for number, seed in missing
    ]
    progress.say(
        "retraining", f"{len(jobs)} trainings of {settings.epochs} epochs on {len(prepared.splits.train)} images"
    )
    monitor = RetrainingMonitor(run, board, progress, settings.epochs * len(jobs))
    run_trials(
        RetrainingTrainable,
        _context(run, prepared, sorted({number for number, _ in missing})),
        storage=storage,
        session=session,
        resources=resources_of(prepared),
        callback=monitor,
        param_space={"job": tune.grid_search(jobs)},
    )
    for name, reason in monitor.failures.items():
        progress.say("retraining", f"{name} failed: {reason}")


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
    )
