"""What has happened in a study in memory since a sampler last looked."""

from __future__ import annotations

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class History:
    """The trials that a sampler learns from, kept from one to the next, so that none is looked at after it has ended.

    Attributes:
        learnt: the COMPLETE and PRUNED trials, in the order in which they were found to have ended.
        running: those that have begun and not ended, by number, without the one that is being proposed.
    """

    def __init__(self) -> None:
        self.learnt: list[FrozenTrial] = []
        self.running: list[FrozenTrial] = []
        self._open: list[int] = []
        self._seen = 0

    def follow(self, study: Study, current: FrozenTrial) -> None:
        """Take note of what is new; `current` is the trial that is to be proposed."""
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        looked_at = [trials[number] for number in (*self._open, *range(self._seen, len(trials)))]
        self._seen = len(trials)
        self._open = [trial.number for trial in looked_at if not trial.state.is_finished()]
        self.learnt += [trial for trial in looked_at if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        self.running = [
            trial for trial in looked_at if trial.state == TrialState.RUNNING and trial.number != current.number
        ]
