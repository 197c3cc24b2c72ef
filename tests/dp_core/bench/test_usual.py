"""The loop that others are measured against does what anybody would write, and no more."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dp_core.bench.usual import UsualLoop
from dp_core.data.preprocessing import Standardisation
from dp_core.training import BatchOrder, Recipe, Training, TrainingData, evaluate
from tests.dp_core.small import CLASSES, copy_of, random_dataset, same, small_model

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 0.05, 0.9, weight_decay=0.001),
    "adam": lambda parameters: torch.optim.Adam(parameters, 0.05, weight_decay=0.001),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 0.05, weight_decay=0.001),
}


def data() -> TrainingData:
    found = random_dataset()
    return TrainingData(found.images, found.labels, Standardisation((0.5,), (0.25,)))


def recipe(optimizer: str = "sgd", augmentation: str = "none") -> Recipe:
    return Recipe(
        optimizer=optimizer,
        learning_rate=0.05,
        weight_decay=0.001,
        schedule="constant",
        steps=6,
        batch_size=10,
        augmentation=augmentation,
        precision="float32",
        mode="eager",
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_it_trains_as_torch_by_hand(optimizer: str) -> None:
    usual = UsualLoop(small_model(), data(), recipe(optimizer), seed=3)
    loss = usual.run(6)
    model, found = small_model(), data()
    stock = OPTIMIZERS[optimizer](model.parameters())
    order, losses = BatchOrder(len(found), 10, seed=3), []
    for step in range(6):
        images = (found.images[order(step)] / 255 - 0.5) / 0.25
        stock.zero_grad()
        own = F.cross_entropy(model(images), found.labels[order(step)])
        own.backward()
        stock.step()
        losses.append(own.item())
    assert loss == pytest.approx(sum(losses) / 6, rel=1e-5)
    for name, value in copy_of(model).items():
        torch.testing.assert_close(usual.model.state_dict()[name], value)


def test_it_does_what_the_training_loop_does() -> None:
    usual = UsualLoop(small_model(), data(), recipe(augmentation="flip_crop"), seed=3)
    training = Training(small_model(), data(), recipe(augmentation="flip_crop"), seed=3, mask=None)
    assert usual.run(6) == pytest.approx(training.run(), rel=1e-4)
    assert usual.step == training.step == 6
    for name, value in copy_of(training.model).items():
        torch.testing.assert_close(usual.model.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_it_uses_nothing_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the usual loop has none of this")

    for name in ("keep_freed_memory", "fused", "Network"):
        monkeypatch.setattr(f"dp_core.training.network.{name}", never)
    usual = UsualLoop(small_model(), data(), recipe(), seed=0)
    usual.run(1)
    usual.evaluate(data())
    assert all(parameter.dtype == torch.float32 for parameter in usual.model.parameters())
    assert all(parameter.is_contiguous() for parameter in usual.model.parameters())
    assert not usual.optimizer.defaults["fused"]


def test_its_accuracy_is_that_of_evaluate_and_changes_nothing() -> None:
    usual = UsualLoop(small_model(), data(), recipe(), seed=0)
    usual.run(4)
    before = copy_of(usual.model)
    accuracy = usual.evaluate(data(), batch_size=7)
    assert usual.model.training
    assert same(copy_of(usual.model), before)
    assert accuracy == pytest.approx(evaluate(usual.model, data(), precision="float32").accuracy)
    assert 1 / CLASSES < accuracy <= 1
