"""CMA-ES on a run that is resumed."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.samplers import CmaEsSampler
from optuna.trial import create_trial

from search.space import Space
from tests.search.study.sampling.small import Searched, end, search

SPACE = {
    "x": {"float": [0.0, 1.0]},
    "y": {"float": [0.0, 1.0]},
    "n": {"int": [3, 3]},
}


def near(params: dict[str, Any]) -> float:
    return -((params["x"] - 0.8) ** 2) - (params["y"] - 0.2) ** 2


def distance(trials: list[dict[str, Any]]) -> float:
    return sum(-near(params) for params in trials) / len(trials)


def test_it_closes_in() -> None:
    study = Searched("cmaes", Space.parse(SPACE))
    search(study, 150, near)
    first, last = ([trial.params for trial in lot] for lot in (study.trials[:20], study.trials[-20:]))
    assert distance(last) < 0.1 * distance(first)


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_resumed_run_starts_where_the_known_trials_were_good_without_any_pickle() -> None:
    space = Space.parse(SPACE)
    study = Searched("cmaes", space)
    search(study, 150, near)
    # What the durable record holds of a trial: nothing of Optuna's own state.
    kept = [create_trial(value=t.value, params=t.params, distributions=t.distributions) for t in study.trials]
    resumed = Searched("cmaes", space, known=kept)
    asked = [resumed.ask() for _ in range(10)]
    proposed = [trial.drawn().params for trial in asked]
    assert isinstance(resumed.sampler(), CmaEsSampler)
    assert distance(proposed) < 0.05
    assert not {str(params) for params in proposed} & {str(trial.params) for trial in study.trials}
    asked[0].constrain({"size": 1.0})
    end(asked[0], 0.0)  # says nothing of constraints that it makes no use of


def test_too_few_known_trials_are_no_start() -> None:
    space = Space.parse(SPACE)
    study = Searched("cmaes", space)
    search(study, 7, near)
    assert 0 <= Searched("cmaes", space, known=study.trials).params()["x"] <= 1
