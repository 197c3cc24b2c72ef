"""A suggestion looks at a bounded number of trials, which stand for all."""

from __future__ import annotations

import random

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from search.space import Space
from search.study.sampling import bounded
from search.study.sampling.bounded import LATEST, OTHERS, BoundedTPESampler
from search.study.sampling.parzen import Parzen
from tests.search.study.sampling.small import Searched

SPACE = {"x": {"float": [0.0, 1.0]}, "kind": {"choice": ["a", "b"]}, "y": {"float": [0.0, 1.0], "when": {"kind": "a"}}}


def with_trials(count: int, objectives: tuple[str, ...] = ("score",)) -> Searched:
    """Return a study of so many trials, the later the better, of which every other one has `y`."""
    generator = random.Random(0)
    kinds, unit = CategoricalDistribution(["a", "b"]), FloatDistribution(0, 1)
    trials = []
    for number in range(count):
        params = {"x": generator.random(), "kind": "ab"[number % 2]} | ({"y": 0.5} if number % 2 == 0 else {})
        distributions: dict[str, BaseDistribution] = {name: kinds if name == "kind" else unit for name in params}
        values = [number / count, generator.random()][: len(objectives)]
        trials.append(create_trial(values=values, params=params, distributions=distributions))
    return Searched("auto", Space.parse(SPACE), objectives, trials=1000, known=trials)


def sampler_of(study: Searched) -> BoundedTPESampler:
    sampler = study.sampler()
    assert isinstance(sampler, BoundedTPESampler)
    return sampler


@pytest.mark.parametrize("objectives", [("score",), ("accuracy", "parameters")])
def test_densities_are_of_a_bounded_number_of_trials(
    monkeypatch: pytest.MonkeyPatch, objectives: tuple[str, ...]
) -> None:
    sizes = []

    class Counted(Parzen):
        def __init__(self, box: object, points: object, weights: object) -> None:
            sizes.append(len(points))  # type: ignore[arg-type]
            super().__init__(box, points, weights)  # type: ignore[arg-type]

    monkeypatch.setattr(bounded, "Parzen", Counted)
    study = with_trials(1500, objectives)
    running = [study.ask() for _ in range(5)]
    assert max(sizes) < OTHERS + len(running)
    # Of x and kind, which every trial has: the good ones, and of the others those that are not good.
    assert {1: 25, 2: 100}[len(objectives)] in sizes
    assert max(sizes) > 0.7 * OTHERS


def test_the_others_are_the_latest_and_an_even_sample_of_those_before() -> None:
    study = with_trials(1000)
    study.ask()
    sample = sampler_of(study)._sample
    assert len(sample) == len(set(sample)) == OTHERS - LATEST
    assert sample == sorted(sample)
    assert max(sample) < 1000 - LATEST
    # The mean of 275 numbers drawn from 0 to 974 is 487, with a standard error of 17 at most.
    assert 487 - 4 * 17 < sum(sample) / len(sample) < 487 + 4 * 17


def test_each_branch_has_densities_of_its_own() -> None:
    study = with_trials(50)
    study.ask()
    assert [list(box.space) for box in sampler_of(study)._branches.boxes] == [["kind", "x"], ["y"]]


@pytest.mark.parametrize(("trials", "is_bounded"), [(300, False), (301, True)])
def test_auto_learns_from_the_whole_history_while_that_costs_little(trials: int, is_bounded: bool) -> None:
    study = Searched("auto", Space.parse(SPACE), trials=trials)
    assert isinstance(study.sampler(), BoundedTPESampler) is is_bounded
