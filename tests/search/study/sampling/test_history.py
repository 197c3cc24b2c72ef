"""What samplers learn from, kept from trial to trial."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.study.sampling.history import History


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_is_what_looking_at_every_trial_gives(seed: int) -> None:
    generator = random.Random(seed)
    study, history = optuna.create_study(), History()
    running: list[optuna.Trial] = []
    study.add_trials([create_trial(value=0.5), create_trial(state=TrialState.FAIL)])
    for _ in range(60):
        trial = study.ask()
        history.follow(study, study.trials[trial.number])
        ended = {one.number for one in study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))}
        assert len(history.learnt) == len(ended)
        assert {one.number for one in history.learnt} == ended
        assert [one.number for one in history.running] == [one.number for one in running]
        running.append(trial)
        if len(running) > 6:
            state = generator.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            value = 0.5 if state == TrialState.COMPLETE else None
            study.tell(running.pop(generator.randrange(len(running))), value, state)


def test_trials_are_in_the_order_in_which_they_ended() -> None:
    study, history = optuna.create_study(), History()
    first, second, third = study.ask(), study.ask(), study.ask()
    study.tell(second, 0.5)
    history.follow(study, study.trials[2])
    study.tell(first, 0.5)
    study.tell(third, 0.5)
    history.follow(study, study.trials[2])
    assert [trial.number for trial in history.learnt] == [1, 0, 2]
