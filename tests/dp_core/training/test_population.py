from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.models import ModelSpec, build
from dp_core.training import Diverged, Population, Recipe, Training, TrainingData, evaluate

SHAPE, CLASSES, MEMBERS = (3, 8, 8), 4, 3
RATES = (0.01, 0.003, 0.02)


def images(count: int = 50) -> TrainingData:
    draw = torch.Generator().manual_seed(1)
    return TrainingData(torch.randn(count, *SHAPE, generator=draw), torch.arange(count) % CLASSES)


def member(index: int, *, rate: float | None = None, model: nn.Module | None = None, **recipe: Any) -> Training:
    """Return a training of its own initial weights, mask, learning rate, data order and augmentation."""
    settings: dict[str, Any] = {"steps": 20, "batch_size": 16, "mode": "eager", "precision": "float32"}
    settings |= {"augmentation": "siamese", "label_smoothing": 0.1, **recipe}
    network = model or build(ModelSpec("convnet", {"depth": 2, "width": 6}), SHAPE, CLASSES, seed=index)
    kept = torch.rand(next(network.parameters()).shape, generator=torch.Generator().manual_seed(index)) > 0.2 * index
    mask = {next(name for name, _ in network.named_parameters()): kept}
    return Training(network, images(), Recipe(learning_rate=rate or RATES[index], **settings), seed=index, mask=mask)


def outputs(training: Training) -> Tensor:
    """Return logits with the batch's own statistics: the running ones lag behind the bias before a batch norm, whose
    gradient is nothing but rounding, which Adam turns into whole steps."""
    with torch.no_grad():
        logits: Tensor = training.model.train()(images().images)
    return logits


@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "none"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_members_end_as_they_would_have_alone(norm: str, optimizer: str) -> None:
    def members() -> list[Training]:
        spec = ModelSpec("convnet", {"depth": 2, "width": 6, "norm": norm, "pooling": "max"})
        return [
            member(index, model=build(spec, SHAPE, CLASSES, seed=index), optimizer=optimizer)
            for index in range(MEMBERS)
        ]

    alone, together = members(), members()
    losses = [training.run() for training in alone]
    population = Population(together, strategy="batched")
    assert population.run() == pytest.approx(losses, rel=1e-4)
    assert population.strategy == "batched"
    for single, joint in zip(alone, together, strict=True):
        assert joint.finished
        for expected, found in zip(single.model.buffers(), joint.model.buffers(), strict=True):
            if optimizer == "sgd":
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outputs(joint), outputs(single), rtol=1e-3, atol=1e-4)
    # They are three different trainings and not three times the same one.
    assert len({round(loss, 4) for loss in losses}) == MEMBERS


def test_removed_weights_are_exactly_zero_after_every_step_and_others_are_not() -> None:
    together = [member(index) for index in range(MEMBERS)]
    population = Population(together, strategy="batched")
    zeros = [(next(training.model.parameters()) == 0).sum() for training in together]
    assert zeros[0] == 0 < zeros[1] < zeros[2]
    for _ in range(5):
        population.run(1)
        assert [(next(training.model.parameters()) == 0).sum() for training in together] == zeros


def test_members_may_stop_be_saved_go_on_alone_and_join_again() -> None:
    expected = [member(index) for index in range(MEMBERS)]
    Population(expected, strategy="batched").run()
    first = [member(index) for index in range(MEMBERS)]
    Population(first, strategy="batched").run(6)
    states = [training.state_dict() for training in first]
    resumed = [member(index) for index in range(MEMBERS)]
    for training, state in zip(resumed, states, strict=True):
        training.load_state_dict(state)
        training.run(3)
    Population(resumed, strategy="batched").run()
    for ours, theirs in zip(resumed, expected, strict=True):
        torch.testing.assert_close(outputs(ours), outputs(theirs), rtol=1e-3, atol=1e-4)


def test_in_turn_is_the_single_training_to_the_bit() -> None:
    alone, together = ([member(index, mode="auto", precision="auto") for index in range(MEMBERS)] for _ in range(2))
    losses = [training.run() for training in alone]
    population = Population(together)  # on a CPU
    assert population.strategy == "in_turn"
    assert population.run(7)
    population.run()
    assert [evaluate(training.model, images()) for training in together] == [
        evaluate(training.model, images()) for training in alone
    ]
    assert all(math.isfinite(loss) for loss in losses)
    for single, joint in zip(alone, together, strict=True):
        for expected, found in zip(single.model.parameters(), joint.model.parameters(), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("strategy", ["batched", "in_turn"])
def test_a_member_that_diverges_leaves_the_others_alone(strategy: Any) -> None:
    together = [member(0), member(1, rate=1e30), member(2)]
    outcomes = Population(together, strategy=strategy).run()
    assert [isinstance(outcome, Diverged) for outcome in outcomes] == [False, True, False]
    assert outcomes[0] == pytest.approx(member(0).run(), rel=1e-4)


def test_networks_that_draw_random_numbers_are_trained_in_turn() -> None:
    def dropping(index: int) -> Training:
        torch.manual_seed(index)
        return member(index, model=nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Dropout(0.5), nn.Linear(8, 4)))

    alone, together = ([dropping(index) for index in range(2)] for _ in range(2))
    population = Population(together, strategy="batched")
    assert population.run() == [training.run() for training in alone]
    assert population.strategy == "in_turn"


def test_what_differs_in_shape_cannot_be_batched() -> None:
    wide = build(ModelSpec("convnet", {"depth": 2, "width": 7}), SHAPE, CLASSES, seed=0)
    with pytest.raises(ValueError, match="cannot be batched"):
        Population([member(0), member(1, model=wide)], strategy="batched")
    with pytest.raises(ValueError, match="cannot be batched"):
        Population([member(0), member(1, steps=21)], strategy="batched")
    with pytest.raises(ValueError, match="at least one"):
        Population([])


def test_out_of_memory_sends_the_members_on_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [member(index).run() for index in range(MEMBERS)]
    together = [member(index) for index in range(MEMBERS)]
    population = Population(together, strategy="batched")
    losses, calls = Population._losses, [0]

    def full(self: Population, images: Tensor, labels: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] == 8:
            raise torch.OutOfMemoryError("no memory left")
        return losses(self, images, labels)

    monkeypatch.setattr(Population, "_losses", full)
    with pytest.warns(UserWarning, match="Out of memory with 3 networks at once") as warned:
        assert population.run() == pytest.approx(expected, rel=1e-4)
    assert len(warned) == 1
    assert population.strategy == "in_turn"
    assert all(training.finished for training in together)


class Tape:
    """Records a function and replays it by calling it, as a GPU would do its kernels again."""

    replays = 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        def replay() -> None:
            self.replays += 1
            function()

        return replay


def test_the_common_step_can_be_recorded_and_gives_the_same() -> None:
    plain, recorded = ([member(index) for index in range(MEMBERS)] for _ in range(2))
    tape = Tape()
    losses = Population(plain, strategy="batched").run()
    assert Population(recorded, strategy="batched", recorder=tape).run() == losses
    assert tape.replays == 17  # of 20 steps, three before the capture
    for ours, theirs in zip(recorded, plain, strict=True):
        assert torch.equal(outputs(ours), outputs(theirs))
