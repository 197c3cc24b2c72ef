"""Which trials are taken for good."""

from __future__ import annotations

import random

import numpy as np
import optuna
import pytest
from optuna.samplers._tpe.sampler import _split_trials
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.sampling.good import GoodTrials, best_ranks_first


def some_trial(generator: random.Random) -> FrozenTrial:
    kind = generator.choice(["ended", "ended", "stopped", "bare", "broken", "nan"])
    value = generator.choice([0.1, 0.2, generator.random()])
    if kind == "ended":
        return create_trial(value=value)
    if kind == "broken":
        attrs = {"constraints:size": generator.choice([0.5, generator.random()]), "constraints:flops": -1.0}
        return create_trial(state=TrialState.PRUNED, system_attrs=attrs)
    steps = {} if kind == "bare" else {1: 0.3, generator.randint(2, 4): float("nan") if kind == "nan" else value}
    return create_trial(state=TrialState.PRUNED, intermediate_values=steps)


@pytest.mark.parametrize("direction", [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE])
@pytest.mark.parametrize("seed", range(10))
def test_the_good_trials_of_one_objective_are_optunas(direction: StudyDirection, seed: int) -> None:
    generator = random.Random(seed)
    study = optuna.create_study(direction=direction)
    good = GoodTrials([study.direction], limit=12)
    for place in range(80):
        study.add_trial(some_trial(generator))
        good.learn(place, study.get_trials(deepcopy=False)[place])
        for count in (1, 3, 12):
            below, _ = _split_trials(study, study.get_trials(deepcopy=False), count)
            assert sorted(good.best(count)) == [trial.number for trial in below]


def two(study: Study, values: list[float]) -> FrozenTrial:
    study.add_trial(create_trial(values=values))
    return study.get_trials(deepcopy=False)[-1]


def test_of_several_objectives_the_first_fronts_are_good_and_then_the_loneliest() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    good = GoodTrials(study.directions, limit=25)
    # By hand. Front 0: (1, 1), (3, 2), (3.1, 2.2), (6, 9). Front 1: (0.5, 1.5), (2, 5). Last: stopped early.
    for place, values in enumerate([[2.0, 5.0], [3.0, 2.0], [1.0, 1.0], [3.1, 2.2], [0.5, 1.5], [6.0, 9.0]]):
        good.learn(place, two(study, values))
    study.add_trial(create_trial(state=TrialState.PRUNED))
    good.learn(6, study.trials[6])
    assert set(good.best(2)) == {2, 5}, "the ends of the front"
    # (3.1, 2.2) lies between neighbours 3 and 7 apart of 5 and 8, (3, 2) between 2.1 and 1.2 apart.
    assert set(good.best(3)) == {2, 5, 3}
    assert set(good.best(4)) == {2, 5, 3, 1}
    assert set(good.best(6)) == {0, 1, 2, 3, 4, 5}
    assert good.best(7)[-1] == 6


@pytest.mark.parametrize("objectives", [2, 3])
def test_the_first_fronts_are_kept_among_any_number_of_trials(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    good = GoodTrials([StudyDirection.MINIMIZE] * objectives, limit=10)
    vectors = rng.normal(size=(400, objectives))
    for place, vector in enumerate(vectors):
        good.learn(place, create_trial(values=vector.tolist()))
    dominated = [(np.all(vectors <= one, axis=1) & np.any(vectors < one, axis=1)).any() for one in vectors]
    front = set(np.flatnonzero(~np.array(dominated)).tolist())
    best = good.best(10)
    assert len(best) == len(set(best)) == 10
    assert set(best) <= front if len(front) >= 10 else front <= set(best)


def test_equal_vectors_and_equal_columns_have_an_order() -> None:
    assert best_ranks_first(np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 2.0]]))[0] == 2
    assert sorted(best_ranks_first(np.ones((4, 2)))) == [0, 1, 2, 3]
