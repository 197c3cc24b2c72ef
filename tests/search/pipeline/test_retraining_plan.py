"""What tells retrainings apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dp_core.errors import UserError
from dp_core.training import Recipe
from search.config.retraining import RetrainSection
from search.pipeline.retrained_models import models_of
from search.pipeline.retraining_plan import RetrainingPlan, what_differs
from search.runs.directory import RunDirectory
from trainables.retraining.method import RetrainingMethod

RECIPE = Recipe(learning_rate=0.1, epochs=20.0)


def test_every_setting_makes_another_recipe() -> None:
    others = [
        replace(RECIPE, learning_rate=0.2),
        replace(RECIPE, epochs=21.0),
        replace(RECIPE, schedule="cosine"),
        replace(RECIPE, batch_size=64),
        replace(RECIPE, precision="float32"),
    ]
    assert len({RetrainingMethod(recipe).key for recipe in (RECIPE, *others)}) == 6
    assert RetrainingMethod(RECIPE).key.startswith("20epochs-")
    assert RetrainingMethod(Recipe(learning_rate=1e-1, epochs=20.0)).key == RetrainingMethod(RECIPE).key


def test_a_plan_names_one_retraining_a_seed() -> None:
    plan = RetrainingPlan.of(RetrainSection(epochs=20, recipe={"learning_rate": 0.1}, seeds=2))
    assert plan.key == RetrainingMethod(RECIPE).key
    assert plan.names(7) == [f"00007-seed{seed}-{plan.key}" for seed in (0, 1)]


def test_a_recipe_comes_back_from_a_card() -> None:
    kept = json.loads(json.dumps({"recipe": RECIPE.to_dict()}))
    assert RetrainingMethod.of_card(kept) == RetrainingMethod(RECIPE)
    del kept["recipe"]["label_smoothing"]  # from before there was such a setting
    assert RetrainingMethod.of_card(kept) == RetrainingMethod(RECIPE)


@pytest.mark.parametrize("results", [{}, {"recipe": None}, {"recipe": {"of_later": 1}}, {"recipe": {"epochs": -1.0}}])
def test_a_card_without_a_recipe_of_this_version_says_none(results: dict[str, object]) -> None:
    assert RetrainingMethod.of_card(results) is None


def test_recipes_are_told_by_what_differs() -> None:
    settings = [json.dumps(recipe.to_dict()) for recipe in (RECIPE, replace(RECIPE, learning_rate=0.2, epochs=5.0))]
    assert what_differs(settings) == ["learning_rate=0.1", "learning_rate=0.2"]
    assert what_differs(settings[:1]) == [""]
    assert what_differs([]) == []


def test_models_of_a_run_from_before_there_were_recipes_are_known_by_their_cards(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    contents = {
        "00003-seed1": {"results": {"trial": 3, "seed": 1, "recipe": RECIPE.to_dict()}},
        "00004-seed0": {"results": {}},
        "00005-seed0-2epochs-abc123": {},
    }
    for name, content in contents.items():
        run.model(name).mkdir(parents=True)
        (run.model(name) / "card.json").write_text(json.dumps(content))
    assert models_of(run) == {
        f"00003-seed1-{RetrainingMethod(RECIPE).key}": run.model("00003-seed1"),
        "00004-seed0": run.model("00004-seed0"),
        "00005-seed0-2epochs-abc123": run.model("00005-seed0-2epochs-abc123"),
    }


def test_every_method_is_tried_with_every_value_that_is_tuned() -> None:
    section = RetrainSection(
        epochs=20,
        recipe={"weight_decay": 0.01},
        method=("gradual", "ticket", {"name": "rigl", "criterion": "ticket"}),
        tune={"learning_rate": (0.1, 0.2), "schedule": ("cosine",)},
        seeds=2,
    )
    plan = RetrainingPlan.of(section)
    assert [(each.name, each.recipe.learning_rate) for each in plan.methods] == [
        (name, rate) for name in ("gradual", "ticket", "rigl") for rate in (0.1, 0.2)
    ]
    assert {(each.recipe.schedule, each.recipe.weight_decay, each.recipe.epochs) for each in plan.methods} == {
        ("cosine", 0.01, 20.0)
    }
    # Among others a ticket pays for its screening; alone it has its epochs.
    assert [each.screening_counts for each in plan.methods[::2]] == [False, True, True]
    assert not RetrainingPlan.of(RetrainSection(epochs=20)).methods[0].screening_counts
    assert plan.key == plan.methods[0].key
    assert len(set(plan.names(3))) == len(plan.trainings(3)) == 12
    assert [(each.trial, each.seed) for each in plan.trainings(3)[:2]] == [(3, 0), (3, 1)]


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"method": ()}, "'retrain.method' is an empty list."),
        ({"method": ("gradual", "gradual")}, "name the same training more than once"),
        ({"method": "gradul"}, "Did you mean 'gradual'?"),
        ({"tune": {"learning_rate": ()}}, "'retrain.tune.learning_rate' is an empty list."),
        ({"tune": {"learning_rate": (0.1, 0.1)}}, "name the same training more than once"),
        (
            {"tune": {"learnin_rate": (0.1,)}},
            "There is no key 'retrain.tune.learnin_rate'. Did you mean 'learning_rate'?",
        ),
        ({"tune": {"learning_rate": (0.1, -1.0)}}, "above 0, not -1.0"),
        ({"tune": {"epochs": (1, 2)}}, "'retrain.tune.epochs': the length of a retraining is 'retrain.epochs'."),
    ],
)
def test_a_mistake_in_methods_or_tuning_is_one_sentence(section: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        RetrainingPlan.of(RetrainSection(**section))
    assert sentence in str(caught.value)
