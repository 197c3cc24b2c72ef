"""A suggestion looks at a bounded number of trials, which stand for all."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import create_trial

from search.space import Space
from search.study.sampling import bounded
from search.study.sampling.bounded import LATEST, OTHERS, BoundedTPESampler
from search.study.sampling.parzen import Parzen
from search.study.sampling.strata import WithinSourceSampler
from tests.search.study.sampling.small import ask, study_of

SPACE = {"x": {"float": [0.0, 1.0]}, "kind": {"choice": ["a", "b"]}, "y": {"float": [0.0, 1.0], "when": {"kind": "a"}}}


def with_trials(count: int, objectives: tuple[str, ...] = ("score",)) -> tuple[optuna.Study, Space]:
    space = Space.parse(SPACE)
    study, other = study_of("auto", space, objectives), study_of("random", space, objectives)
    for number in range(count):
        params = ask(other, space)
        trial = params.params
        values = [number / count] + [1.0 - trial["x"]] * (len(objectives) - 1)
        found = other.tell(params, values)
        study.add_trial(create_trial(values=values, params=trial, distributions=found.distributions))
    return study, space


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
    study, space = with_trials(500, objectives)
    running = [ask(study, space) for _ in range(5)]
    assert max(sizes) < OTHERS + len(running)
    # Of x and kind, which every trial has: the good ones, and of the others those that are not good.
    assert len(objectives) * 25 in sizes
    assert max(sizes) > 0.7 * OTHERS


def test_the_others_are_the_latest_and_an_even_sample_of_those_before() -> None:
    study, space = with_trials(1000)
    ask(study, space)
    assert isinstance(study.sampler, WithinSourceSampler)
    (sampler,) = study.sampler._samplers.values()
    assert isinstance(sampler, BoundedTPESampler)
    sample = sampler._sample
    assert len(sample) == len(set(sample)) == OTHERS - LATEST
    assert sample == sorted(sample)
    assert max(sample) < 1000 - LATEST
    # The mean of 75 draws from 0 … 974 is 487 with a standard error of 33.
    assert 487 - 4 * 33 < sum(sample) / len(sample) < 487 + 4 * 33


def test_each_branch_has_densities_of_its_own() -> None:
    study, space = with_trials(50)
    ask(study, space)
    assert isinstance(study.sampler, WithinSourceSampler)
    (sampler,) = study.sampler._samplers.values()
    assert isinstance(sampler, BoundedTPESampler)
    assert [list(box.space) for box in sampler._branches.boxes] == [["kind", "x"], ["y"]]
