"""Tickets that retraining needs and the search has not left: of audited trials that were stopped, or damaged ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from optuna.trial import FrozenTrial
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from dp_core.pruning import Ticket
from search.output.numbers import plural
from search.pipeline.bad_ends import BadEnd, BadEnds
from search.pipeline.monitor import TicketMonitor
from search.pipeline.preparation import Preparation
from search.pipeline.screening import phase_storage, screening_context
from search.runs.directory import RunDirectory
from search.runs.progress import Progress
from search.study.trials import written_candidate
from search.tune.checkpoints import CheckpointStore
from search.tune.execution import run_trials, trial_directory
from search.tune.lost_workers import NotSaved, PatientScheduler
from trainables import ScreeningTrainable


def has_sound_ticket(run: RunDirectory, number: int) -> bool:
    """Return whether the ticket of a trial is there and undamaged."""
    try:
        Ticket.load(run.ticket(number))
    except UserError:
        return False
    return True


def complete_tickets(
    run: RunDirectory,
    prepared: Preparation,
    sets: Mapping[str, DistilledSet],
    trials: Sequence[FrozenTrial],
    numbers: Sequence[int],
    ends: BadEnds,
    progress: Progress,
) -> None:
    """Take those of the trials `numbers` that have no sound ticket to their end; `ends` keeps what comes to nothing.

    They go on from their last sound checkpoint, or from the beginning: the result is the same, as everything in a trial
    follows from its candidate, its number and the seed of the run. The study keeps what became of them in the search.
    """
    known = ends.tickets()
    missing = [number for number in numbers if number not in known and not has_sound_ticket(run, number)]
    for number in missing:
        if run.ticket(number).exists():
            progress.say("tickets", f"{run.ticket(number)} is damaged: trial {number} is run again")
    if missing:
        _run(run, prepared, sets, {trial.number: trial for trial in trials}, missing, ends, progress)


def _run(
    run: RunDirectory,
    prepared: Preparation,
    sets: Mapping[str, DistilledSet],
    by_number: Mapping[int, FrozenTrial],
    numbers: Sequence[int],
    ends: BadEnds,
    progress: Progress,
) -> None:
    storage = phase_storage(run, prepared, "screening")
    store = CheckpointStore(storage)
    session = store.next_session()
    run.enter("completing tickets")
    progress.say("tickets", f"{plural(len(numbers), 'trial')} to be taken to the end")
    search, resources = prepared.config.search, prepared.config.resources
    scheduler = _TicketScheduler(resources.max_failures, search.round_seconds, ends, progress)
    jobs = [
        {
            "trial": number,
            "candidate": written_candidate(by_number[number]),
            "resume_from": store.newest(trial_directory(number), lambda text: progress.say("tickets", text)),
        }
        for number in numbers
    ]
    run_trials(
        ScreeningTrainable,
        screening_context(prepared, sets),
        storage=storage,
        session=session,
        resources=resources,
        callback=TicketMonitor(run, scheduler, ends, progress),
        trials=len(jobs),
        searcher=_Jobs(jobs),
        scheduler=scheduler,
    )
    scheduler.refuse_full_disk()


class _Jobs(NotSaved, Searcher):
    """Hands out configs, one after the other."""

    def __init__(self, jobs: Sequence[dict[str, Any]]) -> None:
        super().__init__(metric="score", mode="max")
        self._jobs = list(jobs)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next config, or FINISHED."""
        return self._jobs.pop(0) if self._jobs else cast("dict[str, Any]", Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _TicketScheduler(PatientScheduler):
    """Notes which tickets are given up."""

    def __init__(self, max_losses: int, round_seconds: float | None, ends: BadEnds, progress: Progress) -> None:
        super().__init__(max_losses, round_seconds)
        self._ends = ends
        self._progress = progress

    def given_up(self, trial: Trial, reason: str) -> None:
        """Keep the reason; a full disk is none of the trial's."""
        if not self.disk_is_full:
            end = BadEnd(trial.config["trial"], "failed", reason)
            self._ends.add(end)
            self._progress.say("tickets", end.sentence)
