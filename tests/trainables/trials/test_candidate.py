from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.training import Recipe
from trainables import Candidate

MODEL = {"name": "convnet", "depth": 2, "width": 8}
WHOLE = {"model": MODEL, "sparsity": 0.9, "source": "distilled", "ipc": 10, "recipe": {"steps": 30}}


def parsed(**changes: Any) -> Candidate:
    return Candidate.parse({**WHOLE, **changes}, classes=10)


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in WHOLE.items() if key not in keys}


@pytest.mark.parametrize(
    ("source", "ipc", "kept", "key"),
    [
        ("distilled", 10, 10, "distilled-10"),
        ("subset", 3, 3, "subset-3"),
        ("real", None, None, "real"),
        ("real", 10, None, "real"),  # of no meaning for `real`, so it does not tell candidates apart
    ],
)
def test_each_source_names_the_set_it_trains_on(source: str, ipc: int | None, kept: int | None, key: str) -> None:
    found = parsed(source=source, ipc=ipc)
    assert (found.source, found.images_per_class, found.data_key) == (source, kept, key)


def test_everything_that_is_written_arrives() -> None:
    found = parsed(recipe={"steps": 30, "optimizer": "adamw", "learning_rate": 0.002, "augmentation": "siamese"})
    assert found.model == ModelSpec("convnet", {"depth": 2, "width": 8})
    assert found.sparsity == 0.9
    assert found.recipe == Recipe(optimizer="adamw", learning_rate=0.002, steps=30, augmentation="siamese")


def test_what_is_not_written_is_distilled_data() -> None:
    assert Candidate.parse(without("source"), classes=10).data_key == "distilled-10"


def test_a_sparsity_of_zero_is_the_dense_network() -> None:
    assert parsed(sparsity=0).sparsity == 0.0


@pytest.mark.parametrize(
    ("source", "ipc", "batch_size", "budget", "steps"),
    [
        ("distilled", 10, 128, 3000, 30),  # 100 images are one full batch: 3000 / 100
        ("distilled", 10, 128, 3099, 30),  # a step that is not paid for is not done
        ("distilled", 50, 128, 3000, 23),  # 500 images in batches of 128: 3000 / 128 = 23.4
        ("subset", 1, 100, 105, 10),  # 10 images
        ("real", None, 100, 3000, 30),
        ("real", None, 128, 3000, 23),
    ],
)
def test_a_budget_of_image_gradients_is_the_length_of_a_round(
    source: str, ipc: int | None, batch_size: int, budget: int, steps: int
) -> None:
    found = parsed(source=source, ipc=ipc, image_gradients=budget, recipe={"batch_size": batch_size})
    assert found.recipe == Recipe(steps=steps, batch_size=batch_size)


def test_without_source_and_length_the_frontier_decides() -> None:
    space = {"model": {"name": "convnet"}, "sparsity": 0.9, "recipe": {"batch_size": 100}}
    found = Candidate.parse(space, 10)
    assert (found.source, found.images_per_class, found.recipe.steps) == ("real", None, 100)
    found = Candidate.parse({**space, "ipc": 5}, 10)
    assert (found.source, found.images_per_class, found.recipe.steps) == ("distilled", 5, 200)  # of 50 images each


@given(
    ipc=st.integers(1, 60), batch_size=st.integers(1, 600), budget=st.integers(1, 10**6), classes=st.integers(2, 100)
)
def test_the_budget_is_spent_to_within_a_step(ipc: int, batch_size: int, budget: int, classes: int) -> None:
    value = {**WHOLE, "ipc": ipc, "image_gradients": budget, "recipe": {"batch_size": batch_size}}
    a_step = min(batch_size, ipc * classes)
    if budget < a_step:
        with pytest.raises(UserError, match=f"may be {budget}, less than the {a_step} images of one step"):
            Candidate.parse(value, classes)
        return
    recipe = Candidate.parse(value, classes).recipe
    assert recipe.steps is not None
    assert recipe.steps * a_step <= budget
    assert (recipe.steps + 1) * a_step > budget


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sparsty": 0.9}, "There is no key 'space.sparsty'. Did you mean 'sparsity'?"),
        ({"recipe": {"learnin_rate": 0.1, "steps": 3}}, "'space.recipe.learnin_rate'. Did you mean 'learning_rate'?"),
        ({"recipe": {"learnin_rate": 0.1}, "image_gradients": 99}, "Did you mean 'learning_rate'?"),
        ({"source": "distiled"}, "'space.source' cannot be 'distiled'. Did you mean 'distilled'?"),
        ({"source": 3}, "'space.source' cannot be 3. Known: distilled, subset, real."),
        ({"sparsity": 1}, "'space.sparsity' must be a number from 0 to below 1, not 1."),
        ({"sparsity": -0.1}, "not -0.1."),
        ({"sparsity": True}, "not True."),
        ({"sparsity": "0.9"}, "'space.sparsity' must be a number"),
        ({"sparsity": float("nan")}, "not nan."),
        ({"model": "convnet"}, "'space.model' must have a name and hyperparameters, not 'convnet'."),
        ({"model": {"depth": 2}}, "A model needs a 'name'"),
        ({"ipc": 0}, "'space.ipc' must be a whole number of at least 1 for the source 'distilled', not 0."),
        ({"ipc": 2.5}, "not 2.5."),
        ({"ipc": True}, "not True."),
        ({"ipc": None}, "not None."),
        ({"source": "subset", "ipc": None}, "for the source 'subset', not None."),
        ({"recipe": {"steps": 2.5}}, "'space.recipe.steps' is not valid: "),
        ({"recipe": {"steps": "30"}}, "'space.recipe.steps' is not valid: "),
        ({"recipe": {"steps": True}}, "'space.recipe.steps' is not valid: "),
        ({"recipe": {"steps": 0}}, "'space.recipe': A recipe needs a steps of at least 1, not 0."),
        ({"recipe": {"steps": 3, "optimizer": "adamm"}}, "'space.recipe': A recipe's optimizer cannot be 'adamm'."),
        ({"image_gradients": 0, "recipe": {}}, "'space.image_gradients' must be a whole number of at least 1, not 0."),
        ({"image_gradients": True, "recipe": {}}, "not True."),
        ({"image_gradients": 3000}, "'space.image_gradients' sets the length of a round"),
        ({"image_gradients": 3000, "recipe": {"epochs": 2.0}}, "'space.image_gradients' sets the length of a round"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_key(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        parsed(**changes)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["model", "sparsity"])
def test_what_has_no_default_is_asked_for(key: str) -> None:
    with pytest.raises(UserError, match=f"There is no 'space.{key}'"):
        Candidate.parse(without(key), classes=10)


@pytest.mark.parametrize("recipe", [3, "adamw", ["steps", 3], None])
def test_a_recipe_that_is_no_mapping_is_a_mistake(recipe: object) -> None:
    with pytest.raises(UserError, match=r"'space\.recipe'"):
        parsed(recipe=recipe)
