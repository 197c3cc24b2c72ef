"""What every sampler by name keeps to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from optuna.trial import TrialState

from search.space import Space
from search.study.sampling import SAMPLERS
from tests.search.study.sampling.small import CONDITIONAL, NUMBERS, Searched, end, search

SPACES = {
    "gp": NUMBERS,
    "cmaes": NUMBERS,
}
OWN = [name for name in SAMPLERS if name != "grid"]
"""A grid proposes what is left of a space, which is not the sampler's to know: see test_grid.py."""


def space_of(name: str) -> Space:
    return Space.parse(SPACES.get(name, CONDITIONAL))


def asked(name: str, trials: int, **options: Any) -> list[dict[str, Any]]:
    study = Searched(name, space_of(name), **options)
    for number in range(trials):
        study.ask(study.sources[number % len(study.sources)])
    return [trial.params for trial in study.trials]


def value(params: dict[str, Any]) -> float:
    return sum(number for number in params.values() if isinstance(number, float))


@pytest.mark.parametrize("name", OWN)
def test_proposals_follow_from_the_seed(name: str) -> None:
    assert asked(name, 6, seed=1) == asked(name, 6, seed=1)
    assert asked(name, 6, seed=1) != asked(name, 6, seed=2)


@pytest.mark.parametrize("name", OWN)
def test_a_resumed_study_does_not_repeat_its_first_proposals(name: str) -> None:
    space = space_of(name)
    first = Searched(name, space)
    search(first, 6, value, pending=0)
    later = asked(name, 6, known=first.trials)
    assert not [params for params in later if params in [trial.params for trial in first.trials]]


@pytest.mark.parametrize("name", OWN)
def test_a_whole_search_stays_in_the_space_and_every_branch_is_visited(name: str) -> None:
    space = space_of(name)
    trials = 12 if name == "gp" else 40
    study = Searched(name, space, trials=trials)
    search(study, trials, value)
    assert len(study.trials) == trials
    for trial in study.trials:
        space.nest(trial.params)  # UserError if anything does not belong
    branches = {"gp": 1, "cmaes": 1}.get(name, 4)
    assert len({frozenset(trial.params) for trial in study.trials}) == branches


@pytest.mark.parametrize("name", ["auto", "tpe", "nsga2"])
def test_samplers_that_learn_leave_random_search(name: str) -> None:
    # Random search puts a fifth of its trials where sparsity is above 0.82; one that learns ends with most of them.
    study = Searched(name, Space.parse(CONDITIONAL), trials=160, seed=3)
    search(study, 160, lambda params: params["sparsity"])
    last = [trial.params["sparsity"] for trial in study.trials[-60:]]
    assert sum(sparsity > 0.82 for sparsity in last) > 30


@pytest.mark.parametrize("name", ["auto", "tpe", "nsga2"])
def test_samplers_of_several_objectives_find_both_ends_of_the_front(name: str) -> None:
    # Depth costs and earns; width only costs, so that all good trials have the least.
    space = Space.parse({"depth": {"float": [0, 1]}, "width": {"float": [0, 1]}})
    study = Searched(name, space, ("accuracy", "parameters"), trials=160)
    search(study, 160, lambda params: [params["depth"], params["depth"] + params["width"]])
    last = [trial.params for trial in study.trials[-60:]]
    assert sum(params["width"] < 0.2 for params in last) > 30
    assert min(params["depth"] for params in last) < 0.25
    assert max(params["depth"] for params in last) > 0.75


@pytest.mark.parametrize("name", ["auto", "tpe", "nsga2", "gp"])
def test_broken_constraints_are_learnt_from(name: str) -> None:
    # The highest of two hills breaks the constraint: a sampler that did not look at it would climb that.
    space = Space.parse({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})
    trials = 15 if name == "gp" else 100  # a Gaussian process is slow, and does with few
    study = Searched(name, space, trials=trials, startup_trials=8)
    for _ in range(trials):
        trial = study.ask()
        x = trial.drawn().params["x"]
        trial.constrain({"x": x - 0.4})
        end(trial, math.exp(-(((x - 0.2) / 0.15) ** 2)) + 2 * math.exp(-(((x - 0.85) / 0.15) ** 2)))
    last = [trial.params["x"] for trial in study.trials[-trials // 3 :]]
    assert sum(x <= 0.4 for x in last) > len(last) / 2


def spread(values: Sequence[float]) -> float:
    return sum(abs(value - 0.5) for value in values) / len(values)


def test_points_that_are_being_tried_do_not_attract_the_next() -> None:
    # The best place is known. Many workers that ask at once spread around it, unlike one whose trials all fail.
    space = Space.parse({"x": {"float": [0, 1]}})
    study = Searched("auto", space, trials=1000)
    search(study, 60, lambda params: -abs(params["x"] - 0.5), pending=0)
    alone = Searched("auto", space, trials=1000, known=study.trials)
    together = [study.params()["x"] for _ in range(30)]
    one_by_one = []
    for _ in range(30):
        trial = alone.ask()
        one_by_one.append(trial.drawn().params["x"])
        trial.tell(TrialState.FAIL, None)
    assert spread(together) > 1.5 * spread(one_by_one)
