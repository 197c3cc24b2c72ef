"""Ray Tune's event loop without the record of its own that it would restore from."""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayActorError, RayTaskError
from ray.tune import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class Controller(TuneController):
    """Tune's loop as it is, but it saves nothing and forgets trials that have ended: the study has them.

    Tune would write down all trials, those that have ended included, every ten seconds, after every second checkpoint
    of a trial and in the end, and keep 80 KB of statistics of each in memory. The `trials` that callbacks are given
    are those that have not ended, or only just.

    Attributes:
        ended: Tune's word for how each trial has ended, TERMINATED or ERROR, by the trial's name.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.ended: dict[str, str] = {}

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Save nothing."""

    def on_step_end(self) -> None:
        """Forget the trials that have ended in this step."""
        super().on_step_end()  # type: ignore[no-untyped-call]
        for ended in (self._stopped_trials, self._failed_trials):
            for trial in ended:
                self.ended[str(trial)] = trial.status
                self._trials.remove(trial)
                self._live_trials.discard(trial)
            ended.clear()

    def _process_trial_failure(self, trial: Trial, exception: TuneError | RayTaskError | RayActorError) -> None:
        """Hear of each loss once, also where a worker is lost while it is being given its next trial.

        Of that Tune hears twice, from the worker and from the call; by the second time the trial is pending again, and
        would be given up. It also keeps it as one that is about to get a worker for ever.
        """
        resetting = trial in self._resetting_trials
        self._resetting_trials.discard(trial)
        if trial.status == Trial.PENDING:
            if isinstance(exception, RayActorError):
                return
            if resetting:
                self._set_trial_status(trial, Trial.RUNNING)
                self._unstage_trial_with_resources(trial)
        super()._process_trial_failure(trial, exception)

    def _mark_trial_to_checkpoint(self, trial: Trial) -> None:
        """Keep no list of trials to be saved."""


class PromptScheduler(FIFOScheduler):
    """Starts pending trials as workers become free, which Tune's loop does without being told.

    FIFOScheduler names the first pending trial at every event. It looks through all trials for it, and where workers
    are slow to start it is one whose worker is on its way: Tune gives it the worker that has just become free, ends
    the one on its way and asks for another, so that a search of short trials never gets more than a few workers.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Leave it to the loop."""
        return None
