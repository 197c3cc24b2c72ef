from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.data.registry import AUGMENTATIONS
from dp_core.pruning import Mask
from dp_core.training import BatchOrder, Diverged, Recipe, Training, TrainingData
from tests.dp_core.small import CLASSES, copy_of, random_data, same, small_model, through_a_file

# In float32: by itself a recipe would take bfloat16 for these networks where the processor has units for it.
SHORT = Recipe(steps=7, batch_size=6, precision="float32")
SGD = replace(SHORT, optimizer="sgd", learning_rate=0.05, momentum=0.9, weight_decay=0.1)
ADAM = replace(SHORT, optimizer="adam", learning_rate=0.02, weight_decay=0.1)
ADAMW = replace(SHORT, optimizer="adamw", learning_rate=0.02, weight_decay=0.5)


def half_mask(model: nn.Module, seed: int = 0) -> Mask:
    draw = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(kept.shape, generator=draw) < 0.5 for name, kept in Mask.ones(model).items()})


class ByHand:
    """The update rules as their papers write them, for a list of tensors, without torch.optim."""

    def __init__(self, recipe: Recipe, parameters: list[Tensor]) -> None:
        self.recipe, self.parameters, self.steps = recipe, parameters, 0
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]

    def step(self, gradients: list[Tensor], rate: float) -> None:
        self.steps += 1
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            if self.recipe.optimizer == "sgd":
                m.mul_(self.recipe.momentum).add_(g + self.recipe.weight_decay * p)
                p.sub_(rate * m)
                continue
            if self.recipe.optimizer == "adamw":
                p.mul_(1 - rate * self.recipe.weight_decay)
            else:
                g = g + self.recipe.weight_decay * p
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            corrected = (v / (1 - 0.999**self.steps)).sqrt() + 1e-8
            p.sub_(rate * m / (1 - 0.9**self.steps) / corrected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("recipe", [SGD, ADAM, ADAMW], ids=lambda recipe: recipe.optimizer)
def test_training_is_the_loop_written_by_hand(recipe: Recipe, masked: bool) -> None:
    data, seed, rates = random_data(), 11, [recipe.learning_rate_at(step, 7) for step in range(7)]
    # No norm: a bias before one has a gradient of zero, of which Adam would make unit steps along rounding errors.
    model, reference = small_model("none"), small_model("none")
    mask = half_mask(model) if masked else None
    loss = Training(model, data, recipe, seed=seed, mask=mask).run()

    parameters, order, losses = list(reference.parameters()), BatchOrder(20, 6, seed), []
    rule = ByHand(recipe, [p.detach() for p in parameters])
    for step, rate in enumerate(rates):
        if mask is not None:
            with torch.no_grad():
                for name, kept in mask.items():
                    reference.get_parameter(name).mul_(kept)
        logits = reference(data.images[order(step)])
        chosen = data.labels[order(step)]
        loss_here = -(logits.log_softmax(1)[torch.arange(6), chosen]).mean()
        losses.append(loss_here.item())
        gradients = torch.autograd.grad(loss_here, parameters)
        rule.step(list(gradients), rate)
    if mask is not None:
        mask.apply_(reference)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, reference.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert loss == pytest.approx(sum(losses) / 7, rel=1e-5)


@pytest.mark.parametrize("recipe", [SGD, ADAM, ADAMW], ids=lambda recipe: recipe.optimizer)
def test_masked_weights_are_exactly_zero_before_the_first_step_and_after_every_one(recipe: Recipe) -> None:
    model = small_model()
    mask = half_mask(model)
    training = Training(model, random_data(), recipe, seed=0, mask=mask)
    for _ in range(8):
        assert all((model.get_parameter(name)[~kept] == 0).all() for name, kept in mask.items())
        assert all((model.get_parameter(name)[kept] != 0).all() for name, kept in mask.items())
        training.run(1)


@functools.cache
def uninterrupted(recipe: Recipe) -> tuple[dict[str, Any], list[float]]:
    model = small_model()
    training = Training(model, random_data(), recipe, seed=5, mask=half_mask(model))
    losses = [training.run(1) for _ in range(7)]
    return training.state_dict(), losses


@given(
    st.integers(0, 7),
    st.sampled_from([SGD, ADAM, ADAMW]),
    st.sampled_from(["none", "flip_crop", "siamese"]),
    st.sampled_from(["float32", "bfloat16"]),
)
def test_resuming_at_any_step_changes_not_a_bit(stop: int, base: Recipe, augmentation: Any, precision: Any) -> None:
    recipe = replace(base, augmentation=augmentation, precision=precision)
    state, losses = uninterrupted(recipe)
    first = small_model()
    training = Training(first, random_data(), recipe, seed=5, mask=half_mask(first))
    training.run(stop)
    checkpoint = through_a_file(training.state_dict())

    second = small_model(seed=99)
    resumed = Training(second, random_data(), recipe, seed=5, mask=half_mask(first))
    resumed.load_state_dict(checkpoint)
    assert (resumed.step, resumed.finished, resumed.image_gradients) == (stop, stop == 7, 6 * stop)
    assert [resumed.run(1) for _ in range(stop, 7)] == losses[stop:]
    assert same(resumed.state_dict(), state)


def test_a_state_is_a_copy_in_both_directions() -> None:
    training = Training(small_model(), random_data(), SGD, seed=0, mask=None)
    training.run(3)
    state = training.state_dict()
    kept = through_a_file(state)
    training.run(2)
    assert same(state, kept)
    end = training.state_dict()
    for _ in range(2):  # the same state serves twice
        training.load_state_dict(state)
        training.run(2)
        assert same(training.state_dict(), end)
    assert same(state, kept)


@pytest.mark.parametrize("cut", [(7,), (1, 1, 1, 1, 1, 1, 1), (3, 0, 4)])
def test_how_a_training_is_cut_into_runs_does_not_matter(cut: tuple[int, ...]) -> None:
    training = Training(small_model(), random_data(), SGD, seed=5, mask=half_mask(small_model()))
    for steps in cut:
        training.run(steps)
    assert same(training.state_dict(), uninterrupted(SGD)[0])


def test_a_training_ends_after_its_steps_and_counts_them() -> None:
    training = Training(small_model(), random_data(), SGD, seed=0, mask=None)
    assert (training.total_steps, training.images_per_step, training.image_gradients) == (7, 6, 0)
    assert training.run(5) > 0
    assert not training.finished
    training.run(100)
    assert (training.step, training.finished, training.image_gradients) == (7, True, 42)
    assert training.run() == 0.0
    assert training.run(3) == 0.0
    assert training.step == 7


def test_the_seed_decides_and_the_global_generator_does_not() -> None:
    recipe = Recipe(steps=5, batch_size=6, augmentation="flip_crop")
    ends = []
    for seed in (1, 1, 2):
        model = small_model()
        torch.rand(1)  # move the global generator on
        before = torch.get_rng_state()
        Training(model, random_data(), recipe, seed=seed, mask=None).run()
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(copy_of(model))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


def test_the_learning_rate_is_honoured_at_every_step() -> None:
    # Without momentum and decay, every move is the rate times a gradient; tiny rates leave the gradient as it is.
    def moves(rate: float, schedule: Any) -> list[Tensor]:
        recipe = replace(SHORT, learning_rate=rate, momentum=0, weight_decay=0, schedule=schedule, steps=10)
        model = small_model("none").double()
        data = TrainingData(random_data().images.double(), random_data().labels)
        training, path = Training(model, data, recipe, seed=0, mask=None), []
        for _ in range(11):
            path.append(torch.cat([p.detach().flatten().clone() for p in model.parameters()]))
            training.run(1)
        return [after - before for before, after in itertools.pairwise(path)]

    steady = moves(1e-5, "constant")
    for fast, slow in zip(moves(1e-4, "constant"), steady, strict=True):
        assert (fast - 10 * slow).norm() < 0.01 * fast.norm()
    for step, move in enumerate(moves(1e-5, "half_step")):
        expected = steady[step] * (1.0 if step < 5 else 0.1)
        assert (move - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("augmentation", ["flip_crop", "siamese"])
def test_images_are_augmented_anew_at_every_step(augmentation: Any) -> None:
    data, seen = random_data(images=6), []
    model = small_model()
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    Training(model, data, Recipe(steps=12, augmentation=augmentation), seed=0, mask=None).run()
    assert all(batch.shape == data.images.shape for batch in seen)
    assert len({batch.numpy().tobytes() for batch in seen}) >= 9  # siamese is at times the identity
    assert augmentation in AUGMENTATIONS


def cross_entropy(logits: Any, shares: Any) -> float:
    return float(-(shares * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1).mean())


@pytest.mark.parametrize(("soft", "smoothing"), [(False, 0.0), (False, 0.3), (True, 0.0), (True, 0.3)])
def test_soft_and_smoothed_labels_enter_the_loss(soft: bool, smoothing: float) -> None:
    hard = random_data()
    one_hot = torch.eye(CLASSES)[hard.labels]
    shares = torch.rand(20, CLASSES, generator=torch.Generator().manual_seed(1)).softmax(1) if soft else one_hot
    model = small_model("none")
    logits = model(hard.images).detach().double().numpy()
    data = TrainingData(hard.images, shares if soft else hard.labels)
    recipe = replace(SHORT, steps=1, batch_size=20, label_smoothing=smoothing)
    loss = Training(model, data, recipe, seed=0, mask=None).run()
    expected = (1 - smoothing) * shares.double().numpy() + smoothing / CLASSES
    assert loss == pytest.approx(cross_entropy(logits, expected), rel=1e-5)


@pytest.mark.parametrize("poison", ["an image that is NaN", "a learning rate far too high"])
def test_divergence_is_raised(poison: str) -> None:
    data, recipe = random_data(), Recipe(steps=12, learning_rate=1e30, batch_size=20, weight_decay=0)
    if poison == "an image that is NaN":
        data.images[3] = torch.nan
        recipe = Recipe(steps=12, batch_size=20)
    training = Training(small_model("none"), data, recipe, seed=0, mask=None)
    with pytest.raises(Diverged, match=r"the loss became (nan|inf) by step 12 of 12"):
        training.run()


def test_the_network_is_in_training_mode_while_it_trains() -> None:
    model = small_model().eval()
    modes: list[bool] = []
    model.register_forward_pre_hook(lambda module, _inputs: modes.append(module.training))
    Training(model, random_data(), SGD, seed=0, mask=None).run()
    assert modes == [True] * 7
    assert int(model.get_buffer("blocks.1.num_batches_tracked")) == 7


def test_a_network_with_dropout_resumes_bit_for_bit_and_leaves_the_global_generator_alone() -> None:
    draw = torch.Generator().manual_seed(5)
    data = TrainingData(torch.randn(12, 1, 4, 4, generator=draw), torch.arange(12) % 3)
    recipe = Recipe(steps=6, batch_size=5, precision="float32")

    def training() -> Training:
        torch.manual_seed(1)
        return Training(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)), data, recipe, seed=2, mask=None)

    whole = training()
    torch.manual_seed(77)
    before = torch.get_rng_state()
    whole.run()
    assert torch.equal(torch.get_rng_state(), before)
    first = training()
    first.run(3)
    second = training()
    second.load_state_dict(first.state_dict())
    torch.manual_seed(99)
    second.run()
    assert torch.equal(second.model.state_dict()["2.weight"], whole.model.state_dict()["2.weight"])
