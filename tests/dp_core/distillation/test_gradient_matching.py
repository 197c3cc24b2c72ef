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
from dp_core.distillation import DistilledSet, GradientMatching
from dp_core.distillation.base import Workspace
from dp_core.distillation.gradient_matching import gradient_distance, weight_gradients
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from tests.dp_core.small import CLASSES, SHAPE, random_dataset, small_model

PIXELS = 36
TINY = {"name": "convnet", "depth": 1, "width": 4}
NO_STEP = 1e-20  # an image_rate that leaves the images as they are


def linear_classifier(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network of one linear layer whose initial weights are the same, whatever the seed."""
    layer = nn.Linear(PIXELS, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(fixed_weights()))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)


def fixed_weights() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(CLASSES, PIXELS)) / PIXELS**0.5


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(PIXELS, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def with_dropout(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Dropping()


LINEAR = {"name": f"{__name__}:linear_classifier"}


def distil(
    source: ImageDataset, ipc: int, workspace: Workspace | None = None, **given: Any
) -> tuple[DistilledSet, list[float]]:
    losses: list[float] = []
    quick = {"architectures": TINY, "real_images": 8, "network_steps": 2, "augmentation": "none"}
    told = workspace or Workspace(progress=lambda _done, _total, loss: losses.append(loss))
    return GradientMatching(**{**quick, **given}).distill(source, ipc, 0, told), losses


# --- the distance ---


def test_the_distance_of_gradients_worked_out_by_hand() -> None:
    one = {"linear": torch.tensor([[3.0, 4.0], [1.0, 0.0]]), "conv": torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])}
    other = {"linear": torch.tensor([[8.0, 6.0], [-2.0, 0.0]]), "conv": torch.tensor([[[[5.0, 0.0]], [[0.0, 0.0]]]])}
    # Cosines of the rows: (24 + 24)/(5·10) = 0.96 and -1; 5/(√2·5) = 1/√2 over all of in·h·w.
    assert float(gradient_distance(one, other)) == pytest.approx(0.04 + 2 + 1 - 0.5**0.5)


def test_a_row_of_zeros_is_one_away_and_leaves_gradients_finite() -> None:
    one = {"a": torch.tensor([[0.0, 0.0], [1.0, 2.0]], requires_grad=True)}
    distance = gradient_distance(one, {"a": torch.tensor([[1.0, 1.0], [0.0, 0.0]])})
    (slope,) = torch.autograd.grad(distance, one["a"])
    assert distance.item() == 2
    assert torch.isfinite(slope).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6))
def test_only_the_direction_of_every_row_counts(seed: int, scale: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    one, other = ({"w": torch.randn(5, 2, 3, 3, generator=draw, dtype=torch.float64)} for _ in range(2))
    scales = scale * torch.rand(5, 1, 1, 1, generator=draw, dtype=torch.float64) + 1e-7
    distance = float(gradient_distance(one, other))
    assert 0 <= distance <= 2 * 5
    assert float(gradient_distance({"w": one["w"] * scales}, other)) == pytest.approx(distance)
    assert float(gradient_distance(other, one)) == pytest.approx(distance)
    assert float(gradient_distance(one, one)) == pytest.approx(0, abs=1e-12)


# --- gradients, and gradients of gradients ---


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_weight_gradients_are_those_of_plain_autograd_without_biases_and_norms(norm: str) -> None:
    model = small_model(norm).eval()
    images, labels = torch.randn(4, *SHAPE), torch.tensor([1, 1, 1, 1])
    found = weight_gradients(model, images, labels)
    assert set(found) == {"blocks.0.weight", "classifier.weight"}
    F.cross_entropy(model(images), labels).backward()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad)


def finite_differences(function: Any, images: Tensor, step: float = 1e-5) -> Tensor:
    found = torch.zeros_like(images)
    for place in range(images.numel()):
        move = torch.zeros(images.numel(), dtype=images.dtype)
        move[place] = step
        move = move.view_as(images)
        found.view(-1)[place] = (function(images + move) - function(images - move)) / (2 * step)
    return found


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("convnet", {"depth": 1, "width": 3, "norm": "instance", "activation": "sigmoid"}),
        ("convnet", {"depth": 1, "width": 3, "norm": "batch", "activation": "sigmoid"}),
        ("vit", {"depth": 1, "width": 4, "heads": 2, "patch": 3}),
    ],
)
def test_the_distance_is_differentiated_through_the_gradient(name: str, given: dict[str, Any]) -> None:
    model = build(ModelSpec(name, given), SHAPE, CLASSES, seed=0).double().eval()
    draw = torch.Generator().manual_seed(1)
    real, start = (torch.randn(n, *SHAPE, generator=draw, dtype=torch.float64) for n in (6, 2))
    wanted = weight_gradients(model, real, torch.full((6,), 2))

    def distance(images: Tensor) -> Tensor:
        return gradient_distance(weight_gradients(model, images, torch.full((2,), 2)), wanted)

    images = start.clone().requires_grad_()
    distance(images).backward()
    assert images.grad is not None
    assert float(images.grad.abs().max()) > 1e-3
    torch.testing.assert_close(images.grad, finite_differences(distance, start), rtol=1e-5, atol=1e-7)
    assert all(parameter.grad is None for parameter in model.parameters())


# --- the algorithm ---


def linear_distance(weights: np.ndarray, real: np.ndarray, made: np.ndarray, label: int) -> float:
    """The matching loss of one class for logits W·x, whose gradient is mean (softmax(W·x) - e_label) ⊗ x."""

    def gradient(x: np.ndarray) -> np.ndarray:
        raised = np.exp(x @ weights.T)
        return (raised / raised.sum(1, keepdims=True) - np.eye(CLASSES)[label]).T @ x / len(x)

    one, other = gradient(real), gradient(made)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float((1 - (one * other).sum(1) / lengths).sum())


def test_the_loss_adds_up_the_distances_of_each_class_by_itself() -> None:
    source, ipc = random_dataset(), 2
    made, losses = distil(source, ipc, iterations=1, image_rate=NO_STEP, architectures=LINEAR)
    real = made.preprocess(source.images / 255).double().numpy().reshape(-1, PIXELS)
    images = made.images.double().numpy().reshape(CLASSES, ipc, PIXELS)
    labels = source.labels.numpy()
    expected = [linear_distance(fixed_weights(), real[labels == c], images[c], c) for c in range(CLASSES)]
    assert losses[0] == pytest.approx(sum(expected), rel=1e-3)
    together = linear_distance(fixed_weights(), real, images.reshape(-1, PIXELS), 0)
    assert abs(sum(expected) - together) > 0.1


def test_a_step_follows_the_gradient_of_the_class_of_each_image() -> None:
    source, rate = random_dataset(), 10.0  # moves the images by far more than float16, in which they are kept, rounds
    start = distil(source, 1, iterations=1, image_rate=NO_STEP, architectures=LINEAR)[0]
    found = distil(source, 1, iterations=1, image_rate=rate, architectures=LINEAR)[0]
    real = start.preprocess(source.images / 255).double().numpy().reshape(-1, PIXELS)
    labels = source.labels.numpy()
    for label in range(CLASSES):

        def distance(images: Tensor, label: int = label) -> float:
            pixels = images.numpy().reshape(1, PIXELS)
            return linear_distance(fixed_weights(), real[labels == label], pixels, label)

        gradient = finite_differences(distance, start.images[label].double())
        moved = (start.images[label] - found.images[label]).double() / rate
        torch.testing.assert_close(moved, gradient, rtol=0.02, atol=1e-3)


def test_the_network_learns_the_set_between_iterations_and_is_replaced() -> None:
    # On unchanged images and all real ones only the network makes the loss. It has the same initial weights each time.
    given: dict[str, Any] = {"image_rate": NO_STEP, "architectures": LINEAR, "iterations": 6, "network_iterations": 3}
    losses = distil(random_dataset(), 2, **given)[1]
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-6)
    assert len({round(loss, 6) for loss in losses[:3]}) == 3
    assert distil(random_dataset(), 3, **{**given, "network_iterations": None})[1][3] == pytest.approx(
        distil(random_dataset(), 3, **given)[1][0], rel=1e-6
    )
    untrained = distil(random_dataset(), 2, **{**given, "network_steps": 0})[1]
    assert untrained == pytest.approx([losses[0]] * 6, rel=1e-6)


def test_the_network_is_trained_by_sgd_worked_out_by_hand() -> None:
    source, ipc, rate, momentum = random_dataset(), 2, 0.05, 0.5
    given: dict[str, Any] = {
        "image_rate": NO_STEP,
        "architectures": LINEAR,
        "network_iterations": 2,
        "network_steps": 3,
    }
    made, losses = distil(source, ipc, iterations=2, network_rate=rate, network_momentum=momentum, **given)
    real = made.preprocess(source.images / 255).double().numpy().reshape(-1, PIXELS)
    images, targets = made.images.double().numpy().reshape(-1, PIXELS), np.eye(CLASSES)[made.labels.numpy()]
    weights, bias, velocity = fixed_weights(), np.zeros(CLASSES), np.zeros((CLASSES, PIXELS + 1))
    for _ in range(3):
        raised = np.exp(images @ weights.T + bias)
        error = (raised / raised.sum(1, keepdims=True) - targets) / len(images)
        velocity = momentum * velocity + np.concatenate([error.T @ images, error.sum(0)[:, None]], axis=1)
        weights, bias = weights - rate * velocity[:, :-1], bias - rate * velocity[:, -1]
    model = nn.Linear(PIXELS, CLASSES).double()
    model.load_state_dict({"weight": torch.from_numpy(weights), "bias": torch.from_numpy(bias)})
    expected = 0.0
    for label in range(CLASSES):
        gradients = []
        for batch in (real[source.labels.numpy() == label], images[ipc * label : ipc * (label + 1)]):
            loss = F.cross_entropy(model(torch.from_numpy(batch)), torch.full((len(batch),), label))
            gradients.append(torch.autograd.grad(loss, model.weight)[0])
        expected += float((1 - F.cosine_similarity(gradients[0], gradients[1], dim=1)).sum())
    assert losses[1] == pytest.approx(expected, rel=5e-3)
    assert abs(losses[1] - losses[0]) > 0.05 * losses[0]


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_loss_goes_down_under_ever_new_networks(norm: str) -> None:
    architectures = {"name": "convnet", "depth": 1, "width": 8, "activation": "sigmoid", "norm": norm}
    given: dict[str, Any] = {"architectures": architectures, "iterations": 25, "network_iterations": 1}
    _, losses = distil(random_dataset(), 2, **given, image_rate=1.0)
    _, still = distil(random_dataset(), 2, **given, image_rate=NO_STEP)
    assert sum(losses[-10:]) < 0.5 * sum(still[-10:])


@pytest.mark.parametrize("augmentation", ["siamese", "none"])
def test_all_images_of_every_class_on_both_sides_match(augmentation: str) -> None:
    # Frozen statistics, and one augmentation for both sides: else the same images would not have the same gradients.
    architectures = {**TINY, "norm": "batch"}
    given: dict[str, Any] = {
        "architectures": architectures,
        "augmentation": augmentation,
        "image_rate": NO_STEP,
        "iterations": 12,
    }
    alike, apart = (distil(random_dataset(), 8, **given, real_images=count)[1] for count in (8, 4))
    assert max(alike) < 0.05  # the real side may be computed in bfloat16
    assert min(apart) > 5 * max(alike)


def test_batch_norm_does_not_tell_a_class_by_its_company() -> None:
    # Classes differ in brightness, which normalisation by a class's own statistics would take away.
    source = random_dataset(per_class=16)
    architectures = {**TINY, "norm": "batch"}
    made, losses = distil(source, 2, architectures=architectures, real_images=16, iterations=1, image_rate=NO_STEP)
    model = GradientMatching(architectures=architectures).pool.build(SHAPE, CLASSES, 0, 0)
    real = made.preprocess(source.images / 255)

    def expected(company: bool) -> float:
        total = 0.0
        for label in range(CLASSES):
            gradients = []
            for batch in (real[source.labels == label], made.images[2 * label : 2 * label + 2]):
                norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
                norm.momentum = 1.0
                model.train()
                model(batch if company else real)
                model.eval()
                gradients.append(weight_gradients(model, batch, torch.full((len(batch),), label)))
            total += float(gradient_distance(gradients[0], gradients[1]))
        return total

    assert losses[0] == pytest.approx(expected(company=False), rel=0.02)
    assert losses[0] != pytest.approx(expected(company=True), rel=0.06)


# --- resuming, cost, mistakes ---


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_going_on_from_a_checkpoint_gives_the_same_set_in_mid_life_of_a_network(tmp_path: Path, stop: int) -> None:
    given: dict[str, Any] = {"architectures": {**TINY, "norm": ["batch", "instance"]}, "augmentation": "siamese"}
    given |= {"iterations": 9, "network_iterations": 4}

    def interrupt(done: int, _: DistilledSet) -> None:
        if done == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        distil(random_dataset(), 2, Workspace(folder=tmp_path, checkpoint_every=1, snapshot=interrupt), **given)
    told: list[int] = []
    rest = Workspace(folder=tmp_path, progress=lambda done, _total, _loss: told.append(done))
    resumed, whole = distil(random_dataset(), 2, rest, **given)[0], distil(random_dataset(), 2, **given)[0]
    assert told == list(range(stop + 1, 10))
    assert torch.equal(resumed.images, whole.images)
    for key in ("matching_loss", "kept_iteration"):
        assert resumed.provenance[key] == whole.provenance[key]
    assert resumed.provenance["cost"]["image_gradients"] == whole.provenance["cost"]["image_gradients"]


def test_dropout_draws_nothing() -> None:
    given: dict[str, Any] = {"architectures": {"name": f"{__name__}:with_dropout"}, "iterations": 3}
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = distil(random_dataset(), 2, **given)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(distil(random_dataset(), 2, **given)[0].images, first.images)


def test_image_gradients_count_real_images_once_and_synthetic_ones_twice() -> None:
    made, _ = distil(random_dataset(), 2, iterations=5, network_iterations=3, real_images=5, network_steps=4)
    matching = 5 * CLASSES * (5 + 2 * 2)
    training = 3 * 4 * 2 * CLASSES  # after iterations 0, 1 and 3; the networks of 2 and 4 have no use for it ...
    training += 4 * 2 * CLASSES  # ... but that of iteration 4, the last, is in the middle of its life
    assert made.provenance["cost"]["image_gradients"] == matching + training


def test_a_class_with_fewer_images_than_a_batch_wants_is_taken_whole() -> None:
    few, many = (
        distil(random_dataset(), 2, iterations=2, real_images=count, architectures=LINEAR, image_rate=NO_STEP)[1]
        for count in (8, 64)
    )
    assert few == pytest.approx(many, rel=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"real_images": 0}, "real_images at least 1, not 0"),
        ({"network_iterations": 0}, r"network_iterations at least 1 \(or null\), not 0"),
        ({"network_steps": -1}, "network_steps 0 or more, not -1"),
        ({"network_rate": 0.0}, "network_rate above 0, not 0.0"),
        ({"network_momentum": 1.0}, "network_momentum from 0 to below 1, not 1.0"),
        ({"labels": "learned"}, "gradient_matching matches classes and has no use for learned labels"),
    ],
)
def test_impossible_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GradientMatching(**given)
