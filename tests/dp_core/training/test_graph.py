from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.training import Recipe, Training, TrainingData
from dp_core.training.graph import GraphedUpdate, draws_random_numbers
from tests.dp_core.small import random_data, same, small_model
from tests.dp_core.training.test_network import half_mask

CPU = torch.device("cpu")
RECIPE = Recipe(steps=9, batch_size=6, learning_rate=0.05, precision="float32", augmentation="flip_crop")


class Replaying:
    """A recorder that keeps the function, and replays by calling it; it counts what it is asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asides = self.captures = self.replays = 0
        self.error = error

    def aside(self) -> AbstractContextManager[None]:
        self.asides += 1
        return nullcontext()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        if self.error is not None:
            raise self.error

        def replay() -> None:
            self.replays += 1
            function()

        return replay

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.asides, self.captures, self.replays


class Update:
    """Adds up what it is given, as an optimiser does, and remembers where the images were in memory."""

    def __init__(self) -> None:
        self.total = torch.zeros(2)
        self.places: list[int] = []

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        self.places.append(images.data_ptr())
        self.total += torch.stack([images.sum(), labels.sum()])
        return images.mean()

    def nothing(self) -> None:
        """Nothing is to be cleared."""


def batch(size: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(size, 4, generator=draw), torch.randint(0, 9, (size,), generator=draw).float()


def test_three_steps_are_done_as_they_are_and_all_further_ones_replayed_on_the_same_memory() -> None:
    recorder, update = Replaying(), Update()
    graph, plain = GraphedUpdate(recorder), Update()
    losses = []
    for step in range(8):
        loss = graph(update, update.nothing, *batch(5, step))
        assert torch.equal(loss, plain(*batch(5, step)))
        losses.append((loss, loss.clone()))
    assert torch.equal(update.total, plain.total)
    assert recorder.counts == (3, 1, 5)
    assert len(set(update.places[3:])) == 1
    assert all(torch.equal(kept, then) for kept, then in losses)  # a later replay does not overwrite a loss


def test_a_batch_of_another_shape_is_done_as_it_is() -> None:
    recorder, update, plain = Replaying(), Update(), Update()
    graph = GraphedUpdate(recorder)
    for step, size in enumerate((2, 5, 5, 5, 5, 3, 5, 4, 5, 5)):
        assert torch.equal(graph(update, update.nothing, *batch(size, step)), plain(*batch(size, step)))
    images, labels = batch(5, 99)
    graph(update, update.nothing, images, labels[:, None])  # labels of another shape
    plain(images, labels)
    assert torch.equal(update.total, plain.total)
    assert recorder.counts == (3, 1, 5)
    static = update.places[3]
    assert [place == static for place in update.places[3:]] == [True, True, False, True, False, True, True, False]


def test_what_cannot_be_recorded_is_done_as_it_is_and_tried_once() -> None:
    recorder, update, plain = Replaying(RuntimeError("not permitted")), Update(), Update()
    graph = GraphedUpdate(recorder)
    for step in range(6):
        assert torch.equal(graph(update, update.nothing, *batch(5, step)), plain(*batch(5, step)))
    assert torch.equal(update.total, plain.total)
    assert recorder.counts == (3, 1, 0)


def test_an_error_that_is_not_about_recording_is_not_hidden() -> None:
    update = Update()
    graph = GraphedUpdate(Replaying(KeyError("a bug")))
    for step in range(3):
        graph(update, update.nothing, *batch(5, step))
    with pytest.raises(KeyError, match="a bug"):
        graph(update, update.nothing, *batch(5, 3))


def test_what_is_left_of_the_step_before_is_cleared_before_the_capture() -> None:
    order: list[str] = []

    class Noting(Replaying):
        def capture(self, function: Callable[[], None]) -> Callable[[], None]:
            order.append("capture")
            return super().capture(function)

    update = Update()
    graph = GraphedUpdate(Noting())
    for step in range(6):
        graph(update, lambda: order.append("clear"), *batch(5, step))
    assert order == ["clear", "capture"]


@pytest.mark.parametrize(
    ("function", "draws"),
    [
        (lambda: torch.rand(1), True),
        (lambda: nn.Dropout(0.5)(torch.ones(4)), True),
        (lambda: torch.ones(4).bernoulli_(0.5), True),
        (lambda: torch.randperm(3), True),
        (lambda: nn.Dropout(0.5).eval()(torch.ones(4)), False),
        (lambda: torch.rand(1, generator=torch.Generator().manual_seed(1)), False),
        (lambda: small_model()(random_data().images), False),
    ],
)
def test_random_numbers_are_noticed_and_the_generator_is_left_alone(
    function: Callable[[], object], draws: bool
) -> None:
    small_model()  # a network with a seed of its own does not draw
    before = torch.get_rng_state()
    assert draws_random_numbers(function, CPU) is draws
    assert torch.equal(torch.get_rng_state(), before)


def train(recorder: Replaying, recipe: Recipe, norm: str = "batch", *, masked: bool = True) -> Training:
    model = small_model(norm)
    mask = half_mask(model) if masked else None
    return Training(model, random_data(), recipe, seed=5, mask=mask, recorder=recorder)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("mode", ["eager", "fused"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_replayed_training_is_the_plain_one_bit_for_bit(optimizer: Any, mode: Any, norm: str) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, mode=mode)
    recorder, refusing = Replaying(), Replaying(RuntimeError("not permitted"))
    replayed, plain = train(recorder, recipe, norm), train(refusing, recipe, norm)
    assert [replayed.run(1) for _ in range(9)] == [plain.run(1) for _ in range(9)]
    assert same(replayed.state_dict(), plain.state_dict())
    assert (recorder.counts, refusing.counts) == ((3, 1, 6), (3, 1, 0))
    if norm == "batch":  # a bias before a norm has a gradient of zero, of which Adam makes steps along roundings
        return
    # Without a recorder at all, rates are numbers of twice the precision: the same but for rounding.
    model = small_model(norm)
    Training(model, random_data(), recipe, seed=5, mask=half_mask(model)).run()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(replayed.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("schedule", ["one_cycle", "half_step"])
def test_every_replay_has_the_learning_rate_of_its_step_in_the_memory_that_was_recorded(schedule: str) -> None:
    recipe = replace(RECIPE, schedule=schedule)
    run = train(Replaying(), recipe)
    (group,) = run.optimizer.param_groups
    rate = group["lr"]
    assert isinstance(rate, Tensor)
    for step in range(9):
        run.run(1)
        assert group["lr"] is rate
        assert float(rate) == pytest.approx(recipe.learning_rate_at(step, 9), rel=1e-6)


def test_removed_weights_are_exactly_zero_after_every_replay() -> None:
    recorder = Replaying()
    run = train(recorder, replace(RECIPE, augmentation="none"))
    mask = half_mask(run.model)
    for _ in range(9):
        run.run(1)
        assert all((run.model.get_parameter(name)[~kept] == 0).all() for name, kept in mask.items())
        assert all((run.model.get_parameter(name)[kept] != 0).all() for name, kept in mask.items())
    assert recorder.replays == 6


def test_no_gradients_are_left_when_a_step_is_captured() -> None:
    class Looking(Replaying):
        def capture(self, function: Callable[[], None]) -> Callable[[], None]:
            assert all(parameter.grad is None for parameter in run.model.parameters())
            return super().capture(function)

    recorder = Looking()
    run = train(recorder, RECIPE)
    run.run()
    assert recorder.captures == 1


def test_finding_out_what_a_network_draws_does_not_count_as_a_step() -> None:
    # The running statistics are those of three batches, not of four.
    run = train(Replaying(), RECIPE)
    run.run(3)
    assert int(run.model.get_buffer("blocks.1.num_batches_tracked")) == 3


def test_a_loaded_state_is_recorded_anew_and_goes_on_bit_for_bit() -> None:
    recorder = Replaying()
    run = train(recorder, RECIPE)
    run.run(5)
    state = run.state_dict()
    losses = [run.run(1) for _ in range(4)]
    assert recorder.counts == (3, 1, 6)
    end = run.state_dict()
    run.load_state_dict(state)
    assert [run.run(1) for _ in range(4)] == losses
    assert same(run.state_dict(), end)
    assert recorder.counts == (6, 2, 7)


def test_a_state_from_a_training_without_recorder_leaves_the_learning_rate_where_replays_read_it() -> None:
    model = small_model()
    plain = Training(model, random_data(), RECIPE, seed=5, mask=half_mask(model))
    plain.run(2)
    run = train(Replaying(), RECIPE)
    (rate,) = (group["lr"] for group in run.optimizer.param_groups)
    run.load_state_dict(plain.state_dict())
    run.run()
    assert run.optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(RECIPE.learning_rate_at(8, 9), rel=1e-6)


class Skipping(nn.Module):
    """Leaves a layer out at random, which it decides on the CPU (stochastic depth)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = images.flatten(1)
        if torch.rand(()) < 0.5:
            features = torch.relu(self.first(features))
        return self.second(features)


@pytest.mark.parametrize("kind", ["dropout", "skipping"])
def test_a_network_that_draws_random_numbers_is_not_replayed_and_still_reproducible(kind: str) -> None:
    data = TrainingData(torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(5)), torch.arange(12) % 3)

    def run(recorder: Replaying | None) -> dict[str, Tensor]:
        torch.manual_seed(1)
        model = Skipping() if kind == "skipping" else nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(16, 3))
        torch.manual_seed(77 if recorder is None else 78)
        training = Training(model, data, replace(RECIPE, augmentation="none"), seed=2, mask=None, recorder=recorder)
        training.run(4)
        torch.rand(3)
        training.run()
        return dict(model.state_dict())

    recorders = [Replaying(), Replaying()]
    ends = [run(recorder) for recorder in recorders]
    assert same(ends[0], ends[1])
    assert recorders[0].counts == (0, 0, 0)
    for name, value in run(None).items():
        torch.testing.assert_close(ends[0][name], value, rtol=1e-5, atol=1e-6)
