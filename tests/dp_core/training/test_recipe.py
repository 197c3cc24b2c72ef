from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp_core.errors import UserError
from dp_core.training import Recipe
from tests.dp_core.small import small_model


@pytest.mark.parametrize(
    ("schedule", "total", "expected"),
    [
        ("constant", 3, [1, 1, 1]),
        ("cosine", 4, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        # Two steps of warm-up, then a cosine over the other eight: cos 0°, 45°, 90°, 135° at every second step.
        ("one_cycle", 10, [1 / 3, 2 / 3, 1, None, 0.8535534, None, 0.5, None, 0.1464466, None]),
        ("one_cycle", 1, [0.5]),
        ("half_step", 4, [1, 1, 0.1, 0.1]),
        ("half_step", 5, [1, 1, 1, 0.1, 0.1]),
    ],
)
def test_learning_rates_worked_out_by_hand(schedule: Any, total: int, expected: list[float | None]) -> None:
    recipe = Recipe(learning_rate=0.4, schedule=schedule, steps=total)
    for step, share in enumerate(expected):
        if share is not None:
            assert recipe.learning_rate_at(step, total) == pytest.approx(0.4 * share)


@given(st.integers(1, 500), st.sampled_from(["constant", "cosine", "one_cycle", "half_step"]))
def test_no_step_is_wasted_and_no_rate_exceeds_the_peak(total: int, schedule: Any) -> None:
    recipe = Recipe(learning_rate=2.0, schedule=schedule, steps=total)
    rates = [recipe.learning_rate_at(step, total) for step in range(total)]
    assert all(0 < rate <= 2.0 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak == (math.ceil(total / 5) if schedule == "one_cycle" and total > 1 else 0)


@pytest.mark.parametrize(
    ("recipe", "images", "steps"),
    [
        (Recipe(steps=7, batch_size=10), 100, 7),
        (Recipe(epochs=2, batch_size=32), 100, 6),  # 200 images in batches of 32 are 6.25
        (Recipe(epochs=2, batch_size=512), 100, 2),  # full batches
        (Recipe(epochs=0.5, batch_size=10), 100, 5),
        (Recipe(epochs=0.001, batch_size=10), 100, 1),
    ],
)
def test_epochs_are_passes_over_the_data(recipe: Recipe, images: int, steps: int) -> None:
    assert recipe.total_steps(images) == steps


def test_a_batch_is_never_larger_than_the_data() -> None:
    assert Recipe(steps=1, batch_size=32).images_per_step(100) == 32
    assert Recipe(steps=1, batch_size=32).images_per_step(20) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "admaw"}, r"optimizer cannot be 'admaw'\. Did you mean 'adamw'\? Known: sgd, adam, adamw"),
        ({"schedule": "cosin"}, r"schedule cannot be 'cosin'\. Did you mean 'cosine'\?"),
        ({"augmentation": "siamse"}, r"augmentation cannot be 'siamse'\. Did you mean 'siamese'\?"),
        ({"precision": "float16"}, r"precision cannot be 'float16'"),
        ({"learning_rate": 0.0}, r"learning_rate above 0, not 0\.0"),
        ({"learning_rate": float("inf")}, r"learning_rate above 0, not inf"),
        ({"learning_rate": float("nan")}, r"learning_rate above 0, not nan"),
        ({"momentum": 1.0}, r"momentum from 0 to below 1, not 1\.0"),
        ({"weight_decay": -1e-4}, r"weight_decay of 0 or more, not -0\.0001"),
        ({"steps": 0}, r"steps of at least 1, not 0"),
        ({"steps": None, "epochs": 0.0}, r"epochs above 0, not 0\.0"),
        ({"batch_size": 0}, r"batch_size of at least 1, not 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing from 0 to below 1, not 1\.0"),
        ({"steps": None}, r"either steps or epochs, not neither"),
        ({"epochs": 2}, r"either steps or epochs, not both"),
    ],
)
def test_impossible_recipes_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe(**{"steps": 5, **settings})


def test_a_recipe_survives_being_a_plain_dict() -> None:
    recipe = Recipe(optimizer="adamw", learning_rate=0.3, epochs=1.5, augmentation="siamese")
    assert Recipe(**recipe.to_dict()) == recipe


def test_the_optimiser_has_the_recipes_numbers_and_all_parameters() -> None:
    model = small_model()
    for name, kind in (("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        recipe = Recipe(optimizer=name, learning_rate=0.3, momentum=0.7, weight_decay=0.02, steps=1)  # type: ignore[arg-type]
        optimizer = recipe.build_optimizer(model)
        assert type(optimizer) is kind
        (group,) = optimizer.param_groups
        assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
        assert (group["lr"], group["weight_decay"]) == (0.3, 0.02)
        assert group["momentum"] == 0.7 if name == "sgd" else group["betas"] == (0.9, 0.999)
