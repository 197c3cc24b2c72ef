from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.distillation.experts import ExpertPlan
from dp_core.errors import UserError
from tests.dp_core.distillation.experts.small_experts import OTHER, SMALL, SPACE, small_plan, source
from tests.dp_core.small import random_dataset


def test_the_defaults_are_those_of_the_paper() -> None:
    plan = ExpertPlan()
    recipe = plan.recipe()
    assert (plan.experts, plan.epochs, plan.augmentation) == (100, 50, "siamese")
    assert (recipe.optimizer, recipe.batch_size, recipe.momentum, recipe.weight_decay) == ("sgd", 256, 0.0, 0.0)
    assert [recipe.learning_rate_at(step, 9766) for step in (0, 5000, 9765)] == [0.01] * 3
    # 50 epochs of CIFAR-10 are 9,765.6 batches of 256.
    assert plan.image_gradients(50_000) == 100 * 9766 * 256


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 4},
        {"learning_rate": 0.02},
        {"batch_size": 11},
        {"momentum": 0.5},
        {"weight_decay": 1e-4},
        {"augmentation": "none"},
        {"models": (OTHER,)},
        {"models": (SMALL, OTHER)},
        {"precision": "bfloat16"},
        {"mode": "auto"},
        {"storage": "bfloat16"},
        {"seed": 1},
    ],
)
def test_whatever_changes_a_trajectory_changes_the_digest(change: dict[str, Any]) -> None:
    assert small_plan(**change).digest(source(), SPACE) != small_plan().digest(source(), SPACE)


def test_every_setting_but_the_number_of_experts_is_in_the_identity() -> None:
    identity = small_plan().identity(source(), SPACE)
    assert {entry.name for entry in dataclasses.fields(ExpertPlan)} - identity.keys() == {"experts"}
    assert small_plan(experts=7).digest(source(), SPACE) == small_plan().digest(source(), SPACE)


def test_data_and_space_are_part_of_the_digest() -> None:
    whitenings = [ZCA.fit(random_dataset(40, seed=seed).images.float() / 255, eps) for seed, eps in ((0, 0.1), (0, 1))]
    spaces: list[Preprocessing] = [
        SPACE,
        Standardisation((0.5,), (0.25,)),
        Standardisation((0.4,), (0.2,)),
        *whitenings,
    ]
    digests = {small_plan().digest(source(), space) for space in spaces}
    digests |= {small_plan().digest(random_dataset(seed=1), SPACE)}
    assert len(digests) == 6


def test_a_whitening_fitted_again_with_other_rounding_has_the_same_digest() -> None:
    images = random_dataset(40).images.float() / 255
    one = ZCA.fit(images)
    other = ZCA(*(values.nextafter(torch.full_like(values, 9)) for values in (one.mean, one.matrix)))
    assert not torch.equal(one.matrix, other.matrix)
    assert small_plan().digest(source(), one) == small_plan().digest(source(), other)


def test_a_plan_from_json_is_the_same_plan() -> None:
    read = ExpertPlan(**{**dataclasses.asdict(small_plan()), "models": [SMALL]})
    assert read == small_plan()
    assert read.digest(source(), SPACE) == small_plan().digest(source(), SPACE)


@given(st.integers(0, 500), st.integers(1, 5))
def test_architectures_are_given_out_in_turn(expert: int, kinds: int) -> None:
    plan = small_plan(models=tuple({**SMALL, "width": 4 + kind} for kind in range(kinds)))
    assert plan.spec(expert).hyperparameters["width"] == 4 + expert % kinds


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"experts": 0}, "at least 1 of experts, not 0"),
        ({"epochs": 0}, "from 1 to 999, not 0"),
        ({"epochs": 1000}, "from 1 to 999, not 1000"),
        ({"epochs": 1.5}, "from 1 to 999, not 1.5"),
        ({"models": ()}, "at least one of models"),
        ({"storage": "bfloat61"}, "'bfloat61'. Did you mean 'bfloat16'?"),
        ({"learning_rate": 0.0}, "learning_rate above 0, not 0.0"),
        ({"momentum": 1.0}, "momentum from 0 to below 1, not 1.0"),
        ({"weight_decay": -1.0}, "weight_decay of 0 or more, not -1.0"),
        ({"batch_size": 0}, "batch_size of at least 1, not 0"),
        ({"augmentation": "siamnese"}, "Did you mean 'siamese'?"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        small_plan(**change)
    assert words in str(caught.value)


def test_networks_that_do_not_fit_the_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"no hyperparameter 'widht'\. Did you mean 'width'"):
        small_plan(models=(SMALL, {"name": "convnet", "widht": 3})).check(source())
    with pytest.raises(UserError, match="depth"):
        small_plan(models=({"name": "convnet", "depth": 9},)).check(source())


def test_a_network_of_ones_own_that_was_edited_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = small_plan(models=({"name": "my_expert:network"},))

    def digest(text: str) -> str:
        (tmp_path / "my_expert.py").write_text(text)
        return plan.digest(source(), SPACE)

    assert digest("WIDTH = 4\n") == digest("WIDTH = 4  # channels\n") != digest("WIDTH = 5\n")
