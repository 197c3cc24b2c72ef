from __future__ import annotations

import optuna
import pytest

from search.study.samplers import SAMPLERS, build_pruner


def asked(name: str, seed: int, known: int, trials: int) -> list[float]:
    study = optuna.create_study(sampler=SAMPLERS[name](seed, known, 100))
    return [study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}).params["x"] for _ in range(trials)]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_follows_from_the_seed(name: str) -> None:
    assert asked(name, 1, 0, 4) == asked(name, 1, 0, 4)
    assert asked(name, 1, 0, 4) != asked(name, 2, 0, 4)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_sampler_that_knows_of_trials_is_another(name: str) -> None:
    assert not set(asked(name, 1, 0, 8)) & set(asked(name, 1, 4, 8))


def test_tpe_leaves_random_search_after_the_startup_trials() -> None:
    # x² over [0, 1]: random search puts a fifth of its trials below 0.2, a model that learns puts most of them there.
    study = optuna.create_study(direction="minimize", sampler=SAMPLERS["tpe"](0, 0, 10))
    for _ in range(40):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(trial, trial.params["x"] ** 2)
    later = [trial.params["x"] for trial in study.trials[10:]]
    assert sum(x < 0.2 for x in later) > len(later) / 2


def test_every_pruner_of_the_config_is_the_one_it_names() -> None:
    kinds = {name: type(build_pruner(name, 2, 2, 5)).__name__ for name in ("successive_halving", "median", "none")}
    assert kinds == {"successive_halving": "SuccessiveHalvingPruner", "median": "MedianPruner", "none": "NopPruner"}
