"""What tells retrainings apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

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
