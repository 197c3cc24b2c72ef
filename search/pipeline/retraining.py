"""The third phase of a run: tickets trained on real images."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from ray import tune
from ray.tune.experiment import Trial

from dp_core.distillation.base import standardisation_of
from dp_core.pruning import Ticket
from search.output.numbers import plural
from search.pipeline.bad_ends import BadEnd, BadEnds
from search.pipeline.monitor import RetrainingMonitor, model_name
from search.pipeline.preparation import Preparation
from search.pipeline.retrained_models import models_of
from search.pipeline.retraining_plan import Retraining, RetrainingPlan
from search.pipeline.screening import phase_storage
from search.pipeline.tensorboard import TensorBoardLog
from search.runs.directory import RunDirectory
from search.runs.progress import Progress
from search.tune.checkpoints import CheckpointStore
from search.tune.execution import run_trials
from search.tune.lost_workers import PatientScheduler
from trainables import RetrainingContext, RetrainingTrainable, SharedDataset
from trainables.retraining.trained_model import TrainedModel


def retrain(
    run: RunDirectory,
    prepared: Preparation,
    plan: RetrainingPlan,
    numbers: Sequence[int],
    ends: BadEnds,
    board: TensorBoardLog,
    progress: Progress,
) -> None:
    """Retrain the tickets of these trials by a plan, with every seed that has no sound model and no bad end yet.

    Every training begins at its ticket. What another recipe made of the same ticket stays where it is, models and
    checkpoints. A model is in the run directory as soon as its training has ended, and a bad end in `ends`.

    Raises:
        UserError: a disk is full.
    """
    storage = phase_storage(run, prepared, "retraining")
    store = CheckpointStore(storage)

    def say(sentence: str) -> None:
        progress.say("retraining", sentence)

    missing = _missing(run, plan, numbers, ends, progress)
    if not missing:
        return
    jobs = [
        {
            "trial": each.trial,
            "seed": each.seed,
            "method": each.method.key,
            "name": each.name,
            "resume_from": store.newest(each.name, say),
        }
        for each in missing
    ]
    run.enter("retraining")
    images = len(prepared.splits.train)
    progress.say(
        "retraining", f"{plural(len(jobs), 'training')} of {plural(plan.epochs, 'epoch')} on {images:,} images"
    )
    search, resources = prepared.config.search, prepared.config.resources
    scheduler = _RetrainingScheduler(resources.max_failures, search.round_seconds, ends, progress)
    run_trials(
        RetrainingTrainable,
        _context(run, prepared, plan, sorted({each.trial for each in missing})),
        storage=storage,
        session=store.next_session(),
        resources=resources,
        callback=RetrainingMonitor(run, scheduler, ends, board, progress, plan.epochs * len(jobs)),
        scheduler=scheduler,
        param_space={"job": tune.grid_search(jobs)},
    )
    scheduler.refuse_full_disk()


def _missing(
    run: RunDirectory, plan: RetrainingPlan, numbers: Sequence[int], ends: BadEnds, progress: Progress
) -> list[Retraining]:
    """Return the retrainings that are still to be done; damaged models make way for theirs."""
    models, failed = models_of(run), ends.retrainings()
    missing = []
    for number in numbers:
        for training in plan.trainings(number):
            there = models.get(training.name)
            if there is not None and not TrainedModel.is_sound(there):
                progress.say("retraining", f"{there} is damaged: it is trained again")
                shutil.rmtree(there)
                there = None
            if there is None and training.name not in failed:
                missing.append(training)
    return missing


class _RetrainingScheduler(PatientScheduler):
    """Notes which retrainings are given up."""

    def __init__(self, max_losses: int, round_seconds: float | None, ends: BadEnds, progress: Progress) -> None:
        super().__init__(max_losses, round_seconds)
        self._ends = ends
        self._progress = progress

    def given_up(self, trial: Trial, reason: str) -> None:
        """Keep the reason; a full disk is none of the trial's."""
        if not self.disk_is_full:
            end = BadEnd(trial.config["job"]["trial"], "failed", reason, model_name(trial))
            self._ends.add(end)
            self._progress.say("retraining", end.sentence)


def _context(
    run: RunDirectory, prepared: Preparation, plan: RetrainingPlan, numbers: Sequence[int]
) -> RetrainingContext:
    splits, config = prepared.splits, prepared.config
    return RetrainingContext(
        train=SharedDataset.of(splits.train),
        validation=SharedDataset.of(splits.validation),
        test=SharedDataset.of(splits.test),
        space=standardisation_of(splits.train),
        tickets={number: Ticket.load(run.ticket(number)) for number in numbers},
        methods={method.key: method for method in plan.methods},
        epochs=plan.epochs,
        seed=config.run.seed,
        threads=config.resources.cpus_per_job,
        stream=config.data.stream,
        round_seconds=config.search.round_seconds,
    )
