"""The distributions of stored parameters are those with which Optuna was asked for them."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from dp_core.errors import UserError
from search.space import Space

SPACE = Space.parse(
    {
        "depth": 3,
        "width": {"int": [8, 64], "step": 8},
        "widths": {"choice": [[64, 128], [32]]},
        "recipe": {
            "optimizer": {"choice": ["sgd", "adam"]},
            "learning_rate": {"float": [1e-3, 1.0], "log": True},
            "momentum": {"float": [0.5, 0.9], "when": {"recipe.optimizer": "sgd"}},
        },
    }
)


def test_distributions_are_those_of_the_active_parameters() -> None:
    params: dict[str, Any] = {"width": 16, "widths": "[32]", "recipe.optimizer": "adam", "recipe.learning_rate": 0.1}
    assert SPACE.distributions(params) == {
        "width": IntDistribution(8, 64, step=8),
        "widths": CategoricalDistribution(["[64,128]", "[32]"]),
        "recipe.optimizer": CategoricalDistribution(["sgd", "adam"]),
        "recipe.learning_rate": FloatDistribution(1e-3, 1.0, log=True),
    }


def test_a_trial_made_of_them_is_the_one_that_was_asked_for() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        SPACE.suggest(study.ask())
    for asked in study.trials:
        distributions = SPACE.distributions(asked.params)
        assert distributions == asked.distributions
        assert create_trial(params=asked.params, distributions=distributions, value=1.0).params == asked.params


def test_parameters_of_another_space_have_none() -> None:
    with pytest.raises(UserError, match=r"'width' was stored as 7"):
        SPACE.distributions({"width": 7, "widths": "[32]", "recipe.optimizer": "adam", "recipe.learning_rate": 0.1})
