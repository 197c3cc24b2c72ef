"""What Ray Tune asks of us: a searcher and a scheduler that only pass on what the study says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from optuna.trial import TrialState
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from dp_core.errors import UserError
from search.study.record import StudyRecord
from search.study.trials import stopped_early
from search.tune.lost_workers import NotSaved, PatientScheduler
from trainables.screening.round import Round
from trainables.trials.resilient import EARLIER

_END_STATES = {"finished": TrialState.COMPLETE, "collapsed": TrialState.PRUNED, "diverged": TrialState.FAIL}
_RESERVE_BYTES = 16 * 2**20
"""Room on the disk below which nothing new is begun: what is running still has to be written down."""


class StudySearcher(NotSaved, Searcher):
    """Hands the study's proposals to Tune.

    Args:
        record: the study.
        resume_from: returns the checkpoint that a trial of this number goes on from, or None.
        folder: on the disk that must have room for more.
    """

    def __init__(self, record: StudyRecord, resume_from: Callable[[int], str | None], folder: Path) -> None:
        super().__init__(metric="score", mode="max")
        self._record = record
        self._resume_from = resume_from
        self._folder = folder

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the config of the next trial, or FINISHED."""
        with self._record.halting():
            self._check_room()
            proposal = None if self._record.halted else self._record.propose()
            if proposal is not None:
                return {
                    "trial": proposal.number,
                    "candidate": dict(proposal.candidate.written),
                    "resume_from": self._resume_from(proposal.number) if proposal.resumed else None,
                }
        return cast("dict[str, Any]", Searcher.FINISHED)  # a word, whatever Ray's annotation says

    def _check_room(self) -> None:
        if shutil.disk_usage(self._folder).free < _RESERVE_BYTES:
            raise UserError(f"There is no room left on the disk for {self._folder}.")

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the scheduler hears of every end first, and with its reason."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""


class StudyScheduler(PatientScheduler):
    """Writes every round and every end into the study, and stops a trial when the study says so.

    Args:
        record: the study.
        has_ticket: tells whether the ticket of a trial is in the run directory.
        max_losses: see PatientScheduler.
        round_seconds: see PatientScheduler.
    """

    def __init__(
        self,
        record: StudyRecord,
        has_ticket: Callable[[int], bool],
        max_losses: int = 3,
        round_seconds: float | None = None,
    ) -> None:
        super().__init__(max_losses, round_seconds)
        self._record = record
        self._has_ticket = has_ticket

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record the round; stop the trial if it is not among the promising ones."""
        super().on_trial_result(tune_controller, trial, result)
        hopeless = False
        if self._record.halted is None:  # else it is told again when the run is resumed
            with self._record.halting():
                hopeless = self._catch_up(trial.config["trial"], result)
                hopeless |= self._record.report(trial.config["trial"], Round.from_row(result))
        return str(TrialScheduler.STOP if hopeless else TrialScheduler.CONTINUE)

    def _catch_up(self, number: int, result: dict[str, Any]) -> bool:
        """Record the rounds that an earlier driver could not; return whether the trial should be stopped by them."""
        stops = [self._record.report(number, Round.from_row(row)) for row in result.get(EARLIER, ())]
        return any(stops)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Record the end: finished, collapsed, diverged, failed, or stopped early."""
        super().on_trial_complete(tune_controller, trial, result)
        if self._record.halted is None:  # else it is taken up when the run is resumed
            with self._record.halting():
                self._record_end(trial.config["trial"], result)

    def _record_end(self, number: int, result: dict[str, Any]) -> None:
        self._catch_up(number, result)
        status = result["status"]
        if status == "running":
            self._record.finish(number, TrialState.PRUNED, stopped_early(result["round"]))
        elif status == "failed":
            self._record.finish(number, TrialState.FAIL, result["reason"])
        else:
            self._record.report(number, Round.from_row(result), last=True)
            state, reason = _END_STATES[status], result["reason"]
            if state == TrialState.COMPLETE and not self._has_ticket(number):
                # Tune only logs what goes wrong while a checkpoint is copied.
                state, reason = TrialState.FAIL, "its ticket could not be written to the run directory"
            self._record.finish(number, state, reason)

    def given_up(self, trial: Trial, reason: str) -> None:
        """Record the failure."""
        if self._record.halted is None:
            with self._record.halting():
                self._record.finish(trial.config["trial"], TrialState.FAIL, reason)

    def no_room(self, error: UserError) -> None:
        """Stop the run."""
        self._record.halt(error)


class HaltStopper(tune.Stopper):
    """Stops the experiment when nothing more is to be proposed for a reason that is not the target."""

    def __init__(self, halted: Callable[[], bool]) -> None:
        self._halted = halted

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: a trial by itself is stopped by the scheduler."""
        return False

    def stop_all(self) -> bool:
        """Return whether the run has been halted."""
        return self._halted()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune has no use for it, see NotSaved."""
        return {}
