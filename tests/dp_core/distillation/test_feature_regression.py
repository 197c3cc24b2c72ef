from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.distillation import DistilledSet, FeatureRegression
from dp_core.distillation.base import Workspace, standardisation_of
from dp_core.distillation.feature_regression import balanced, ridge_regression_loss
from dp_core.distillation.iterative import Task
from dp_core.distillation.synthetic import Synthetic
from dp_core.errors import UserError
from tests.dp_core.small import CLASSES, random_dataset

PIXELS, FEATURES = 36, 5
TINY = {"name": "convnet", "depth": 1, "width": 4}
NO_STEP = 1e-20  # an image_rate that leaves the images as they are
ROUGHLY = 0.02  # features may be computed in bfloat16, which rounds by up to 1/256


def linear_embedding(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network whose last linear layer sees A·x for an A that is the same, whatever the seed."""
    first, last = nn.Linear(PIXELS, FEATURES, bias=False), nn.Linear(FEATURES, classes, bias=False)
    draws = torch.Generator().manual_seed(4)
    with torch.no_grad():
        first.weight.copy_(torch.randn(FEATURES, PIXELS, generator=draws) / PIXELS**0.5)
        last.weight.copy_(torch.randn(classes, FEATURES, generator=draws))
    return nn.Sequential(nn.Flatten(), first, last)


def dead_embedding(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    network = linear_embedding(input_shape, classes)
    with torch.no_grad():
        network.get_parameter("1.weight").zero_()
    return network


LINEAR = {"name": f"{__name__}:linear_embedding"}
PLAIN: dict[str, Any] = {"architectures": LINEAR, "augmentation": "none", "networks": 1, "labels": "hard"}


def distil(
    source: ImageDataset, ipc: int, workspace: Workspace | None = None, **given: Any
) -> tuple[DistilledSet, list[float]]:
    losses: list[float] = []
    told = workspace or Workspace(progress=lambda _done, _total, loss: losses.append(loss))
    return FeatureRegression(**{"architectures": TINY, "networks": 2, **given}).distill(source, ipc, 0, told), losses


# --- the loss ---


def primal(
    synthetic: np.ndarray, labels: np.ndarray, real: np.ndarray, real_labels: np.ndarray, penalty: float
) -> float:
    """Ridge regression as it is usually written: W = (ΦᵀΦ + penalty·I)⁻¹ Φᵀ Y, with as many unknowns as features."""
    gram = synthetic.T @ synthetic + penalty * np.eye(synthetic.shape[1])
    weights = np.linalg.solve(gram, synthetic.T @ labels)
    return 0.5 * float(((real @ weights - real_labels) ** 2).sum(1).mean())


def test_the_loss_worked_out_by_hand() -> None:
    synthetic, labels = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.eye(2)
    # Kernel diag(1, 4), its trace 5, so the penalty is 1: a real (1, 1) is taken for 1·1/2 and 2·1/5 of the two labels.
    loss = ridge_regression_loss(synthetic, labels, torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]), 0.2)
    assert loss.item() == pytest.approx(0.5 * (0.5**2 + 0.4**2))
    twice = ridge_regression_loss(synthetic, labels, torch.ones(2, 2), torch.tensor([[1.0, 0.0], [0.5, 0.4]]), 0.2)
    assert twice.item() == pytest.approx(0.25 * (0.5**2 + 0.4**2))  # the second real image is predicted exactly


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 5), st.floats(1e-4, 10), st.integers(0, 99))
def test_kernel_and_primal_form_are_the_same(images: int, features: int, batch: int, ridge: float, seed: int) -> None:
    draws = np.random.default_rng(seed)
    synthetic, real = draws.normal(size=(images, features)), draws.normal(size=(batch, features))
    labels, real_labels = draws.normal(size=(images, 3)), draws.normal(size=(batch, 3))
    given = [torch.from_numpy(value) for value in (synthetic, labels, real, real_labels)]
    found = ridge_regression_loss(given[0], given[1], given[2], given[3], ridge)
    penalty = ridge * float((synthetic**2).sum())  # the trace of the kernel
    assert found.item() == pytest.approx(primal(synthetic, labels, real, real_labels, penalty), rel=1e-6)


def slopes(function: Any, at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return the gradient of `function` by central differences."""
    found = np.empty_like(at)
    for place in np.ndindex(*at.shape):
        beside = at.copy()
        beside[place] += step
        above = function(beside)
        beside[place] -= 2 * step
        found[place] = (above - function(beside)) / (2 * step)
    return found


def test_the_gradient_is_that_of_finite_differences_at_a_fixed_penalty() -> None:
    draws = np.random.default_rng(1)
    features, labels, real, wanted = (draws.normal(size=size) for size in ((4, 3), (4, 2), (5, 3), (5, 2)))
    leaves = [torch.from_numpy(value).requires_grad_() for value in (features, labels)]
    ridge_regression_loss(leaves[0], leaves[1], torch.from_numpy(real), torch.from_numpy(wanted), 0.05).backward()
    penalty = 0.05 * float((features**2).sum())
    by_features = slopes(lambda value: primal(value, labels, real, wanted, penalty), features)
    by_labels = slopes(lambda value: primal(features, value, real, wanted, penalty), labels)
    for leaf, expected in zip(leaves, (by_features, by_labels), strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-6, atol=1e-9)


def test_features_that_are_all_zero_are_a_divergence_and_no_defect() -> None:
    zero, one_hot = torch.zeros(3, 4), torch.eye(3)
    assert not torch.isfinite(ridge_regression_loss(zero, one_hot, zero, one_hot, 1e-3))
    with pytest.raises(UserError, match=r"cannot do iteration 1, .*: all features of the synthetic images are 0"):
        distil(random_dataset(), 1, **{**PLAIN, "architectures": {"name": f"{__name__}:dead_embedding"}})


def test_a_network_that_its_own_steps_spoil_is_named_and_its_steps_are_halved() -> None:
    said: list[str] = []
    told = Workspace(say=said.append)
    distiller = FeatureRegression(**{**PLAIN, "iterations": 4, "network_rate": 1e30, "network_steps": 9})
    with pytest.raises(
        UserError, match=r"again at iteration \d, .*: the features of network 0 reach .* Take a smaller network_rate"
    ):
        distiller.distill(random_dataset(), 1, 0, told)
    assert said
    assert "image_rate" in distiller.step_sizes
    assert distiller.step_sizes["network_rate"] == 1e30


# --- an iteration ---


def standardised(source: ImageDataset) -> tuple[np.ndarray, np.ndarray]:
    """Return real images, float64 [24, pixels], and their labels, one-hot less 1/classes."""
    pixels = source.images.numpy().reshape(len(source), PIXELS) / 255
    return (pixels - pixels.mean()) / pixels.std(), np.eye(CLASSES)[source.labels.numpy()] - 1 / CLASSES


def start(source: ImageDataset, ipc: int) -> np.ndarray:
    """Return the images that a distillation begins with, float64 [N, pixels]."""
    made, _ = distil(source, ipc, iterations=1, image_rate=NO_STEP, **PLAIN)
    return made.preprocess(source.images / 255)[matches(made, source)].double().numpy().reshape(-1, PIXELS)


def matches(made: DistilledSet, source: ImageDataset) -> Tensor:
    """Return which real image each image of a set is; the set has them in float16."""
    apart = (made.preprocess(source.images / 255)[None] - made.images[:, None]).abs().amax((2, 3, 4))
    assert apart.amin(1).max() < 2e-3
    return apart.argmin(1)


def test_it_starts_from_real_images_of_each_class() -> None:
    source = random_dataset()
    made, _ = distil(source, 2, iterations=1, image_rate=NO_STEP)
    found = matches(made, source)
    assert source.labels[found].tolist() == [0, 0, 1, 1, 2, 2]
    assert len(set(found.tolist())) == 6


def test_a_step_follows_the_slope_of_the_loss() -> None:
    source, ipc, rate, ridge = random_dataset(), 1, 5.0, 0.01
    plain = {**PLAIN, "optimizer": "sgd", "momentum": 0.0, "ridge": ridge, "real_images": 24}
    made, losses = distil(source, ipc, iterations=1, image_rate=rate, **plain)
    real, real_labels = standardised(source)
    a = linear_embedding((1, 6, 6), CLASSES).get_parameter("1.weight").detach().double().numpy()
    labels = np.eye(CLASSES) - 1 / CLASSES
    x = start(source, ipc)
    penalty = ridge * float(((x @ a.T) ** 2).sum())

    def loss(images: np.ndarray) -> float:
        return primal(images @ a.T, labels, real @ a.T, real_labels, penalty)

    assert losses == pytest.approx([loss(x)], rel=ROUGHLY)
    expected = x - rate * slopes(loss, x)
    way = np.abs(expected - x).max()
    assert way > 0.1  # so that the rounding of the set to float16 does not count
    np.testing.assert_allclose(made.images.numpy().reshape(x.shape), expected, rtol=1e-3, atol=ROUGHLY * way)


def test_a_network_learns_the_set_by_adam_between_iterations() -> None:
    source, ridge = random_dataset(), 0.01
    _, losses = distil(
        source, 1, iterations=3, image_rate=NO_STEP, ridge=ridge, real_images=24, network_rate=0.1, **PLAIN
    )
    network = linear_embedding((1, 6, 6), CLASSES).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    x, labels = start(source, 1), np.eye(CLASSES) - 1 / CLASSES
    real, real_labels = standardised(source)
    expected = []
    for _ in range(3):
        a = network.get_parameter("1.weight").detach().numpy().copy()
        penalty = ridge * float(((x @ a.T) ** 2).sum())
        expected.append(primal(x @ a.T, labels, real @ a.T, real_labels, penalty))
        optimizer.zero_grad()
        F.cross_entropy(network(torch.from_numpy(x)), torch.arange(CLASSES)).backward()
        optimizer.step()
    assert expected[0] > 1.2 * expected[1]
    assert losses == pytest.approx(expected, rel=ROUGHLY)


# --- the pool ---


def course(iterations: int, **given: Any) -> list[list[tuple[int, int]]]:
    """Return after every iteration number and steps of each network in use."""
    source = random_dataset()
    distiller = FeatureRegression(**{**PLAIN, "real_images": 4, **given})
    task = Task(source, standardisation_of(source), 1, 0, Workspace())
    objective = distiller.objective(task)
    synthetic = Synthetic(torch.randn(3, 1, 6, 6), torch.arange(3), 3, learn_labels=False, rate=None)
    found = []
    for iteration in range(iterations):
        synthetic.images.grad = None
        objective(synthetic, iteration, 1.0)
        state = objective.state_dict()
        assert state["made"] == 1 + max(member["number"] for member in state["members"])
        found.append([(member["number"], member["trained"]) for member in state["members"]])
    return found


def test_a_network_is_replaced_at_the_end_of_its_life_of_1_to_most_steps() -> None:
    lives: list[int] = []
    before = (0, 0)
    for ((number, trained),) in course(400, network_steps=5):
        if number == before[0]:
            assert trained == before[1] + 1
        else:
            assert (number, trained) == (before[0] + 1, 0)
            lives.append(before[1] + 1)
        before = (number, trained)
    assert set(lives) == {1, 2, 3, 4, 5}
    # Uniform, so of some 133 lives a fifth ± 0.035 last for any of these numbers of steps.
    assert all(0.08 < lives.count(steps) / len(lives) < 0.32 for steps in range(1, 6))


def test_networks_take_turns_at_random() -> None:
    found = course(60, networks=3, network_steps=10_000)
    assert all([number for number, _ in networks] == [0, 1, 2] for networks in found)
    turns = [trained for _, trained in found[-1]]
    assert sum(turns) == 60
    assert min(turns) >= 8  # 20 ± 3.7 each


def test_networks_of_every_architecture_are_met() -> None:
    source = random_dataset()
    seen = set()
    given: dict[str, Any] = {"architectures": {**TINY, "width": [2, 3, 4]}, "networks": 6, "iterations": 1}
    distiller = FeatureRegression(**given)
    objective = distiller.objective(Task(source, standardisation_of(source), 1, 0, Workspace()))
    synthetic = Synthetic(torch.randn(3, 1, 6, 6), torch.arange(3), 3, learn_labels=False, rate=None)
    objective(synthetic, 0, 1.0)
    for member in objective.state_dict()["members"]:
        seen.add(len(member["model"]["blocks.0.weight"]))
    assert seen == {2, 3, 4}


# --- the whole ---


def test_the_loss_goes_down_and_labels_are_learned() -> None:
    source = random_dataset(per_class=20)
    made, losses = distil(
        source, 2, iterations=60, image_rate=0.05, network_rate=3e-4, network_steps=20, label_rate=0.05
    )
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert made.labels.is_floating_point()
    assert made.labels.argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    own = made.labels.max(1).values
    assert len(set(own.tolist())) > 1  # no longer all 0.95


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_going_on_from_a_checkpoint_in_mid_life_gives_the_same_set(tmp_path: Path, stop: int) -> None:
    given: dict[str, Any] = {"architectures": {**TINY, "norm": ["batch", "instance"]}, "network_steps": 4}
    given |= {"iterations": 9, "networks": 3}

    def interrupt(done: int, _: DistilledSet) -> None:
        if done == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        distil(random_dataset(), 2, Workspace(folder=tmp_path, checkpoint_every=1, snapshot=interrupt), **given)
    told: list[int] = []
    rest = Workspace(folder=tmp_path, progress=lambda done, _total, _loss: told.append(done))
    resumed, whole = distil(random_dataset(), 2, rest, **given)[0], distil(random_dataset(), 2, **given)[0]
    assert told == list(range(stop + 1, 10))
    assert resumed.digest == whole.digest
    assert resumed.provenance["matching_loss"] == whole.provenance["matching_loss"]
    assert resumed.provenance["cost"]["image_gradients"] == whole.provenance["cost"]["image_gradients"]


def test_image_gradients_count_a_matching_and_a_training_step_an_iteration() -> None:
    made, _ = distil(random_dataset(), 2, iterations=3)
    assert made.provenance["cost"]["image_gradients"] == 3 * 2 * (2 * CLASSES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"real_images": 0}, "feature_regression needs real_images at least 1, not 0"),
        ({"ridge": 0.0}, "needs ridge above 0"),
        ({"networks": 0}, "needs networks at least 1"),
        ({"network_steps": 0}, "needs network_steps at least 1"),
        ({"network_rate": -1.0}, "needs network_rate above 0"),
        ({"labels": "soft"}, "feature_regression has no labels 'soft'"),
    ],
)
def test_impossible_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FeatureRegression(**given)


def test_large_images_are_not_whitened() -> None:
    source = random_dataset(shape=(3, 64, 64))
    with pytest.raises(UserError, match=r"Whitening \(space zca\) is for images of up to 4096 values, not for 12288"):
        FeatureRegression(space="zca").check(source, 1)


# --- of large sets some images at a time ---


@given(st.integers(1, 6), st.integers(1, 5), st.data(), st.integers(0, 99))
def test_a_draw_has_as_many_images_of_every_class_as_can_be(
    classes: int, images_per_class: int, data: st.DataObject, seed: int
) -> None:
    labels = torch.arange(classes).repeat_interleave(images_per_class)
    count = data.draw(st.integers(1, len(labels)))
    drawn = balanced(labels, count, torch.Generator().manual_seed(seed))
    assert len(drawn.unique()) == len(drawn) == count
    numbers = torch.bincount(labels[drawn], minlength=classes)
    assert numbers.max() - numbers.min() <= 1


def test_every_image_is_drawn_about_as_often() -> None:
    labels, draw = torch.arange(3).repeat_interleave(4), torch.Generator().manual_seed(0)
    counts = sum(torch.bincount(balanced(labels, 4, draw), minlength=12) for _ in range(900))
    assert isinstance(counts, Tensor)
    assert counts.sum() == 3600
    assert (counts - 300).abs().max() < 75  # five standard deviations of a binomial


def test_a_set_that_is_larger_than_a_draw_is_made_from_draws_and_costs_no_more() -> None:
    source = random_dataset(per_class=12)
    costs = []
    for ipc in (2, 4):
        made, losses = distil(source, ipc, iterations=30, synthetic_images=2 * CLASSES, image_rate=0.05)
        start, _ = distil(source, ipc, iterations=1, image_rate=NO_STEP)
        assert (made.images - start.images).abs().flatten(1).amax(1).min() > 0.01  # every image has been moved
        assert np.mean(losses[-5:]) < np.mean(losses[:5])
        costs.append(made.provenance["cost"]["image_gradients"])
    assert costs == [2 * 2 * CLASSES * 30] * 2
