"""Parameters may be laid out anew between two steps; a training goes on as if they had not been."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dp_core.models import ModelSpec, build
from dp_core.training import Network, Population, Recipe, Training, TrainingData, evaluate
from tests.dp_core.training.test_graph import Replaying

SHAPE, CLASSES = (3, 8, 8), 4
IMAGES = TrainingData(torch.randn(32, *SHAPE, generator=torch.Generator().manual_seed(1)), torch.arange(32) % CLASSES)


def training(seed: int = 0, *, recorder: Any = None, **changes: Any) -> Training:
    settings = {"learning_rate": 0.05, "steps": 12, "batch_size": 16, "mode": "eager", "precision": "float32"}
    model = build(ModelSpec("convnet", {"depth": 2, "width": 6, "norm": "none"}), SHAPE, CLASSES, seed=seed)
    recipe = Recipe(**{**settings, **changes})
    return Training(model, IMAGES, recipe, seed=seed, mask=None, recorder=recorder)


def strides(model: nn.Module) -> list[tuple[int, ...]]:
    return [parameter.stride() for parameter in model.parameters()]


def assert_alike(one: Training, other: Training) -> None:
    for found, expected in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_evaluation_in_another_format_changes_no_bit_of_a_training(optimizer: str) -> None:
    undisturbed, evaluated = training(optimizer=optimizer), training(optimizer=optimizer)
    before = strides(evaluated.model)
    for _ in range(4):
        undisturbed.run(3)
        evaluated.run(3)
        evaluate(evaluated.model, IMAGES, precision="bfloat16")
        assert strides(evaluated.model) == before
    for found, expected in zip(evaluated.model.parameters(), undisturbed.model.parameters(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_optimisers_state_follows_the_parameters(optimizer: str) -> None:
    undisturbed, moved = training(optimizer=optimizer), training(optimizer=optimizer)
    undisturbed.run()
    moved.run(6)
    before = strides(moved.model)
    Network(moved.model, mode="eager", precision="bfloat16")
    assert strides(moved.model) != before
    moved.run()
    assert_alike(moved, undisturbed)


def test_a_step_is_recorded_anew_only_if_the_parameters_have_moved() -> None:
    recorder = Replaying()
    moved = training(recorder=recorder)
    for _ in range(3):
        moved.run(2)
    assert recorder.captures == 1
    Network(moved.model, mode="eager", precision="bfloat16")
    moved.run()
    assert recorder.captures == 2


def test_a_state_of_another_layout_is_gone_on_from() -> None:
    plain, resumed = training(), training()
    plain.run(6)
    Network(resumed.model, mode="eager", precision="bfloat16")
    resumed.load_state_dict(plain.state_dict())
    plain.run()
    resumed.run()
    assert_alike(resumed, plain)


def test_members_that_went_alone_in_another_layout_join_a_population() -> None:
    alone, together = ([training(seed, mode="auto") for seed in range(2)] for _ in range(2))
    for member in together:
        Network(member.model, mode="eager", precision="bfloat16")
        member.run(6)
    Population(together, strategy="batched").run()
    for one, other in zip(together, alone, strict=True):
        other.run()
        assert_alike(one, other)
