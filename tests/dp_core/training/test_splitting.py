from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.pruning import CRITERIA, IterativePruning, PruningPlan
from dp_core.training import Recipe, Training
from dp_core.training.splitting import BatchSplitter, in_first_part, out_of_memory
from tests.dp_core.small import CLASSES, random_data, same, small_model
from tests.dp_core.training.test_network import half_mask

RECIPE = Recipe(steps=5, batch_size=7, learning_rate=0.05, precision="float32")
EAGER = replace(RECIPE, mode="eager")  # the module as it is, which counts what it sees
OUT = "CUDA out of memory. Tried to allocate 2.00 GiB."
CPU_OUT = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."


class Limited(nn.Module):
    """A network whose device holds `limit` images at a time."""

    def __init__(self, limit: int, error: Exception | None = None, norm: str = "instance") -> None:
        super().__init__()
        self.inner = small_model(norm)
        self.limit = limit
        self.error = error or torch.OutOfMemoryError(OUT)
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.limit:
            raise self.error
        return self.inner(images)


def nothing() -> None:
    pass


def loss_of(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, labels: F.cross_entropy(model(images), labels, label_smoothing=0.1)


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [
        (7, [7]),
        (6, [7, 4, 3]),
        (4, [7, 4, 3]),
        (3, [7, 4, 2, 2, 2, 1]),
        (2, [7, 4, 2, 2, 2, 1]),
        (1, [7, 4, 2, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.filterwarnings("ignore:Out of memory")
def test_loss_and_gradients_of_the_parts_are_those_of_the_whole_batch(limit: int, sizes: list[int], soft: bool) -> None:
    data = random_data(7)
    labels = torch.rand(7, CLASSES).softmax(1) if soft else data.labels
    whole, limited = small_model("instance"), Limited(limit)
    expected = loss_of(whole)(data.images, labels)
    expected.backward()
    loss = BatchSplitter()(loss_of(limited), limited.zero_grad, data.images, labels)
    assert limited.sizes == sizes
    assert not loss.requires_grad
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-6)
    for found, wanted in zip(limited.inner.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-4, atol=1e-6)


def test_the_parts_are_remembered_and_told_once() -> None:
    data, limited, splitter = random_data(8), Limited(3), BatchSplitter()
    with pytest.warns(UserWarning, match="Out of memory with a batch of 8 images on cpu: it is split") as told:
        splitter(loss_of(limited), nothing, data.images, data.labels)
    assert len(told) == 1
    assert splitter.parts == 4
    assert limited.sizes == [8, 4, 2, 2, 2, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splitter(loss_of(limited), nothing, data.images, data.labels)
        limited.limit = 1  # memory got less: more parts, without another word
        splitter(loss_of(limited), nothing, data.images, data.labels)
    assert limited.sizes[6:] == [2] * 4 + [2] + [1] * 8


@pytest.mark.filterwarnings("ignore:Out of memory")
def test_a_later_batch_may_be_smaller_than_the_number_of_parts() -> None:
    data, limited, splitter = random_data(8), Limited(1), BatchSplitter()
    splitter(loss_of(limited), nothing, data.images, data.labels)
    assert splitter.parts == 8
    limited.zero_grad()
    loss = splitter(loss_of(limited), nothing, data.images[:3], data.labels[:3])
    expected = loss_of(limited.inner)(data.images[:3], data.labels[:3])
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-6)
    gradients = torch.autograd.grad(expected, list(limited.inner.parameters()))
    for parameter, gradient in zip(limited.inner.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


class FailsBackwards(torch.autograd.Function):
    """Runs out of memory on the way back if there are more than `limit` images."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, images: Tensor, limit: int) -> Tensor:
        ctx.limit = limit  # type: ignore[attr-defined]
        return images.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        if len(gradients[0]) > ctx.limit:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError(OUT)
        return gradients[0], None


@pytest.mark.filterwarnings("ignore:Out of memory")
def test_what_an_attempt_left_behind_is_cleared_before_the_next() -> None:
    # Seven images in parts of 4 and 3, then 2, 2, 2 and 1: attempts fail after some gradients were added.
    first, last = nn.Linear(36, 5), nn.Linear(5, CLASSES)
    data, starts = random_data(7), list[None]()

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        features = FailsBackwards.apply(first(images.flatten(1)), 3)
        return F.cross_entropy(last(features), labels)

    def start() -> None:
        starts.append(None)
        for layer in (first, last):
            layer.zero_grad()

    found = BatchSplitter()(loss, start, data.images, data.labels)
    assert len(starts) == 3
    wanted = F.cross_entropy(last(first(data.images.flatten(1))), data.labels)
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-5, atol=1e-6)
    parameters = [*first.parameters(), *last.parameters()]
    for parameter, gradient in zip(parameters, torch.autograd.grad(wanted, parameters), strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(OUT), RuntimeError(CPU_OUT)])
@pytest.mark.filterwarnings("ignore:Out of memory")
def test_one_image_that_does_not_fit_is_the_users_error_in_one_sentence(error: Exception) -> None:
    data, limited = random_data(6), Limited(0, error)
    with pytest.raises(UserError) as raised:
        BatchSplitter()(loss_of(limited), nothing, data.images, data.labels)
    assert str(raised.value) == "The memory of cpu does not hold one image of 1×6×6 in training."
    assert limited.sizes == [6, 3, 2, 1]


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"), KeyError("no")]
)
def test_other_errors_pass_through_at_once(error: Exception) -> None:
    data, limited, splitter = random_data(6), Limited(3, error), BatchSplitter()
    with pytest.raises(type(error)) as raised:
        splitter(loss_of(limited), nothing, data.images, data.labels)
    assert raised.value is error
    assert (splitter.parts, limited.sizes) == (1, [6])


def test_torchs_own_errors_are_told_apart() -> None:
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(too_large.value)
    assert out_of_memory(torch.OutOfMemoryError(OUT))
    with pytest.raises(RuntimeError) as wrong:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not out_of_memory(wrong.value)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("mode", ["eager", "fused"])
def test_a_training_in_parts_takes_the_steps_of_the_whole_batches(
    optimizer: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, mode=mode, label_smoothing=0.1)  # type: ignore[arg-type]
    ends = []
    for limit in (7, 2):
        model = Limited(limit)
        mask = half_mask(model)
        training = Training(model, random_data(), recipe, seed=3, mask=mask)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            losses = [training.run(1) for _ in range(5)]
        assert len([warning for warning in told if "Out of memory" in str(warning.message)]) == (limit == 2)
        assert all((model.get_parameter(name)[~kept] == 0).all() for name, kept in mask.items())
        ends.append((losses, model.state_dict()))
    assert ends[1][0] == pytest.approx(ends[0][0], rel=1e-4)
    for name, value in ends[0][1].items():
        torch.testing.assert_close(ends[1][1][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Out of memory")
def test_a_training_of_which_no_image_fits_says_so_and_one_in_parts_is_reproducible() -> None:
    with pytest.raises(UserError, match="does not hold one image of 1×6×6"):
        Training(Limited(0), random_data(), RECIPE, seed=3, mask=None).run()
    ends = []
    for _ in range(2):
        model = Limited(3)
        Training(model, random_data(), RECIPE, seed=3, mask=None).run()
        ends.append(dict(model.state_dict()))
    assert same(ends[0], ends[1])


@pytest.mark.parametrize("parts", [1, 2, 3, 9])
def test_a_training_may_begin_in_parts(parts: int) -> None:
    sizes = {1: [7], 2: [4, 3], 3: [3, 2, 2], 9: [1] * 7}[parts]
    ends = []
    for memory_parts in (1, parts):
        model = Limited(7)
        training = Training(model, random_data(), EAGER, seed=3, mask=None, memory_parts=memory_parts)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ends.append((training.run(), model.state_dict()))
        assert training.memory_parts == memory_parts
    assert model.sizes == sizes * 5
    assert ends[1][0] == pytest.approx(ends[0][0], rel=1e-4)
    for name, value in ends[0][1].items():
        torch.testing.assert_close(ends[1][1][name], value, rtol=1e-3, atol=1e-4)


def test_a_pruning_keeps_to_its_parts_in_every_round() -> None:
    model = Limited(4)
    plan = PruningPlan((0.0, 0.5), CRITERIA["magnitude"], EAGER)
    pruning = IterativePruning(model, random_data(), plan, seed=3, memory_parts=2)
    while not pruning.finished:
        pruning.run_round()
    assert model.sizes == [4, 3] * 10


@pytest.mark.parametrize(("parts", "first"), [(1, 7), (2, 4), (3, 3), (7, 1), (100, 1)])
def test_the_first_part_is_what_goes_through_the_network_first(parts: int, first: int) -> None:
    data, limited = random_data(7), Limited(7)
    images, labels = in_first_part(parts, data.images, data.labels)
    assert torch.equal(images, data.images[:first])
    assert torch.equal(labels, data.labels[:first])
    BatchSplitter(parts)(loss_of(limited), nothing, data.images, data.labels)
    assert limited.sizes[0] == first
