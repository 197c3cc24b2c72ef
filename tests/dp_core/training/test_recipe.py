from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_core.errors import UserError
from dp_core.training import Recipe
from dp_core.training.parts import build_optimizer
from dp_core.training.schedule import multi_step
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


# The paper's real training: 60 epochs, times 0.15 at epochs 50, 65 and 80, of which only the first is ever reached.
PAPER = Recipe(schedule="multi_step", milestones=(50 / 60,), decay=0.15, learning_rate=8e-4, epochs=60, batch_size=256)


@pytest.mark.parametrize(
    ("milestones", "decay", "total", "expected"),
    [
        ((0.5,), 0.1, 4, [1, 1, 0.1, 0.1]),
        ((0.5,), 0.1, 5, [1, 1, 1, 0.1, 0.1]),  # the first step that is not before 2.5
        ((0.5, 0.75), 0.2, 8, [1, 1, 1, 1, 0.2, 0.2, 0.04, 0.04]),
        ((0.25, 0.5, 0.75), 0.5, 4, [1, 0.5, 0.25, 0.125]),
        ((0.1, 0.2), 0.5, 3, [1, 0.25, 0.25]),  # two milestones within one step
        ((0.9,), 0.5, 1, [1]),
        ((0.99,), 0.5, 2, [1, 1]),  # after the last step: never
    ],
)
def test_milestones_worked_out_by_hand(
    milestones: tuple[float, ...], decay: float, total: int, expected: list[float]
) -> None:
    recipe = Recipe(schedule="multi_step", milestones=milestones, decay=decay, learning_rate=0.4, steps=total)
    found = [recipe.learning_rate_at(step, total) for step in range(total)]
    assert found == pytest.approx([0.4 * share for share in expected])
    assert [multi_step(milestones, decay)(step, total) for step in range(total)] == pytest.approx(expected)


@pytest.mark.parametrize(("milestone", "total", "step"), [(0.55, 100, 55), (0.07, 100, 7), (0.14, 50, 7)])
def test_a_milestone_that_is_a_step_is_that_step(milestone: float, total: int, step: int) -> None:
    rates = [multi_step((milestone,), 0.1)(at, total) for at in range(total)]
    assert rates == [1.0] * step + [0.1] * (total - step)


def test_the_papers_rate_falls_at_epoch_50_of_60() -> None:
    images = 50_000
    total = PAPER.total_steps(images)
    assert total == 11_719  # 60 × 50,000 / 256 = 11,718.75
    falls = PAPER.steps_of_epochs(50, images)
    assert falls == 9_766  # 9,765.625
    rates = [PAPER.learning_rate_at(step, total) for step in range(total)]
    assert rates[:falls] == [8e-4] * falls
    assert rates[falls:] == pytest.approx([1.2e-4] * (total - falls))


@settings(max_examples=20)
@given(st.integers(1, 6), st.sets(st.integers(1, 63), min_size=1, max_size=4), st.floats(0.01, 0.99))
def test_milestones_are_those_of_torchs_multi_step(total: int, epochs: set[int], decay: float) -> None:
    # Of 64 epochs of `total` steps each, so that every share is exact.
    steps = sorted(epoch * total for epoch in epochs)
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, steps, decay)
    milestones = tuple(epoch / 64 for epoch in sorted(epochs))
    recipe = Recipe(schedule="multi_step", milestones=milestones, decay=decay, learning_rate=0.3, steps=64 * total)
    for step in range(64 * total):
        assert recipe.learning_rate_at(step, 64 * total) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        scheduler.step()


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


@pytest.mark.parametrize(
    ("epochs", "images", "batch_size", "steps"),
    [
        (1, 50_000, 256, 195),  # 195.3
        (1, 100, 8, 12),  # 12.5, to the even one as Python rounds
        (3, 100, 8, 38),  # 37.5
        (2.5, 100, 10, 25),
        (4, 100, 512, 4),  # full batches
        (0, 100, 10, 0),  # a rewind point, unlike a training, may be at 0
        (0.01, 100, 10, 0),
    ],
)
def test_steps_that_come_nearest_to_so_many_epochs(epochs: float, images: int, batch_size: int, steps: int) -> None:
    assert Recipe(steps=7, batch_size=batch_size).steps_of_epochs(epochs, images) == steps
    if epochs:
        assert Recipe(epochs=epochs, batch_size=batch_size).total_steps(images) == max(1, steps)


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
        ({"schedule": "multistep"}, r"schedule cannot be 'multistep'\. Did you mean 'multi_step'\?"),
        ({"schedule": "multi_step"}, r"milestones that rise between 0 and 1, not \[\] with multi_step"),
        ({"milestones": (0.5,)}, r"schedule multi_step, and no other, needs .*not \[0\.5\] with one_cycle"),
        *(
            ({"schedule": "multi_step", "milestones": wrong}, r"milestones that rise between 0 and 1, not \[")
            for wrong in [(0.0, 0.5), (0.5, 1.0), (0.5, 0.5), (0.7, 0.3), (50, 65), (-0.1,), (float("nan"),)]
        ),
        *(
            ({"schedule": "multi_step", "milestones": (0.5,), "decay": wrong}, r"decay above 0 and below 1, not ")
            for wrong in (0.0, 1.0, -0.1, 10.0, float("nan"))
        ),
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


def test_milestones_survive_json() -> None:
    read = Recipe(**json.loads(json.dumps(PAPER.to_dict())))
    assert read == PAPER
    assert hash(read) == hash(PAPER)  # the list of the JSON has become a tuple again
    assert read.milestones == (50 / 60,)


def test_the_optimiser_has_the_recipes_numbers_and_all_parameters() -> None:
    model = small_model()
    for name, kind in (("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        recipe = Recipe(optimizer=name, learning_rate=0.3, momentum=0.7, weight_decay=0.02, steps=1)
        optimizer = build_optimizer(recipe, model)
        assert type(optimizer) is kind
        (group,) = optimizer.param_groups
        assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
        assert (group["lr"], group["weight_decay"]) == (0.3, 0.02)
        assert group["momentum"] == 0.7 if name == "sgd" else group["betas"] == (0.9, 0.999)
