"""CMA-ES on a run that is resumed."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.samplers import CmaEsSampler
from optuna.trial import create_trial

from search.space import Space
from search.study.sampling.strata import WithinSourceSampler
from tests.search.study.sampling.small import ask, search, study_of

SPACE = {
    "source": {"choice": ["distilled", "real"]},
    "x": {"float": [0.0, 1.0]},
    "y": {"float": [0.0, 1.0]},
    "n": {"int": [3, 3]},
}


def near(params: dict[str, Any]) -> float:
    return -((params["x"] - 0.8) ** 2) - (params["y"] - 0.2) ** 2


def distance(trials: list[dict[str, Any]]) -> float:
    return sum(-near(params) for params in trials) / len(trials)


def test_it_closes_in() -> None:
    space = Space.parse(SPACE)
    study = study_of("cmaes", space)
    search(study, space, 150, near, sources=("real",))
    first, last = ([trial.params for trial in lot] for lot in (study.trials[:20], study.trials[-20:]))
    assert distance(last) < 0.1 * distance(first)


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_resumed_run_starts_where_the_known_trials_were_good_without_any_pickle() -> None:
    space = Space.parse(SPACE)
    study = study_of("cmaes", space)
    search(study, space, 150, near, sources=("real",))
    # What the durable record holds of a trial: nothing of Optuna's own state.
    kept = [create_trial(value=t.value, params=t.params, distributions=t.distributions) for t in study.trials]
    resumed = study_of("cmaes", space, known_trials=150)
    resumed.add_trials(kept)
    proposed = [ask(resumed, space, "real") for _ in range(10)]
    assert isinstance(resumed.sampler, WithinSourceSampler)
    (sampler,) = resumed.sampler._samplers.values()
    assert isinstance(sampler, CmaEsSampler)
    assert distance([trial.params for trial in proposed]) < 0.05
    assert not {str(trial.params) for trial in proposed} & {str(trial.params) for trial in study.trials}
    proposed[0].set_constraint("size", 1.0)
    resumed.tell(proposed[0], 0.0)  # says nothing of constraints that it makes no use of


def test_too_few_known_trials_are_no_start() -> None:
    space = Space.parse(SPACE)
    study = study_of("cmaes", space)
    search(study, space, 7, near, sources=("real",))
    resumed = study_of("cmaes", space, known_trials=7)
    resumed.add_trials(study.trials)
    assert 0 <= ask(resumed, space, "real").params["x"] <= 1
