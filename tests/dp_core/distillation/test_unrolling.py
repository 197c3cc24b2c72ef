"""Gradients through unrolled trainings, against autograd that keeps the whole graph and against finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dp_core.distillation import inner_gradient
from dp_core.distillation.inner_gradient import InnerGradient
from dp_core.distillation.lowering import NotLowered
from dp_core.distillation.trajectory_matching import matching_loss, squared_distance
from dp_core.distillation.unrolling import Batch, Unrolled
from dp_core.models import ModelSpec, build

STEPS, RATE, COUNT, CLASSES = 3, 0.3, 6, 3


def network(norm: str = "instance", activation: str = "sigmoid", pooling: str = "average") -> nn.Module:
    model = {"depth": 2, "width": 4, "norm": norm, "activation": activation, "pooling": pooling}
    return build(ModelSpec("convnet", model), (2, 8, 8), CLASSES, seed=1).double()


def problem(model: nn.Module, *, soft: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
    """Return start, goal, images and labels."""
    draws = torch.Generator().manual_seed(0)

    def like(value: Tensor, scale: float) -> Tensor:
        return value.detach() + scale * torch.randn(value.shape, generator=draws, dtype=torch.float64)

    start = {name: like(value, 0.1) for name, value in model.named_parameters()}
    goal = {name: like(value, 0.2) for name, value in start.items()}
    images = torch.randn(COUNT, 2, 8, 8, generator=draws, dtype=torch.float64)
    labels = torch.arange(COUNT) % CLASSES
    return start, goal, images, torch.randn(COUNT, CLASSES, dtype=torch.float64).softmax(1) if soft else labels


def by_autograd(
    model: nn.Module,
    start: Mapping[str, Tensor],
    goal: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    rate: Tensor,
) -> Tensor:
    """The loss with the graph of all steps: what is differentiated by autograd below."""
    current = dict(start)
    for step in range(STEPS):
        shifted = images.roll(step, 3)
        leaves = {name: value.requires_grad_() if value.is_leaf else value for name, value in current.items()}
        inner = F.cross_entropy(functional_call(model, leaves, (shifted,)), labels)
        gradients = torch.autograd.grad(inner, list(leaves.values()), create_graph=True)
        current = {name: leaves[name] - rate * g for name, g in zip(leaves, gradients, strict=True)}
    away = torch.stack([(current[name] - goal[name]).square().sum() for name in goal]).sum()
    return away / torch.stack([(start[name].detach() - goal[name]).square().sum() for name in goal]).sum()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("norm", "activation", "pooling"),
    [
        ("instance", "sigmoid", "average"),
        ("batch", "leaky_relu", "max"),
        ("layer", "relu", "none"),
        ("none", "relu", "average"),
    ],
)
def test_exact_gradients_are_those_of_the_whole_graph(norm: str, activation: str, pooling: str, soft: bool) -> None:
    model = network(norm, activation, pooling)
    start, goal, images, labels = problem(model, soft=soft)
    leaves = [images.clone().requires_grad_(), torch.tensor(RATE, dtype=torch.float64, requires_grad=True)]
    if soft:
        leaves.append(labels.clone().requires_grad_())
    plain = by_autograd(model, start, goal, leaves[0], leaves[2] if soft else labels, leaves[1])
    wanted = torch.autograd.grad(plain, leaves)

    made = images.clone().requires_grad_()
    given = labels.clone().requires_grad_() if soft else labels
    unrolled = Unrolled(
        InnerGradient(model), start, RATE, lambda step: Batch(made.roll(step, 3), given), STEPS, exact=True
    )
    loss, direction = matching_loss(unrolled.end, goal, squared_distance(start, goal, "it"))
    for gradient in unrolled.pull_back(direction):
        gradient.backward()
    assert loss == pytest.approx(plain.item(), rel=1e-10)
    assert made.grad is not None
    torch.testing.assert_close(made.grad, wanted[0], rtol=1e-7, atol=1e-12)
    assert unrolled.rate_gradient == pytest.approx(wanted[1].item(), rel=1e-8)
    if soft:
        assert given.grad is not None
        torch.testing.assert_close(given.grad, wanted[2], rtol=1e-7, atol=1e-12)


def test_exact_gradients_are_those_of_finite_differences() -> None:
    model = network()
    start, goal, images, labels = problem(model, soft=False)

    def loss_at(pictures: Tensor) -> float:
        inner = InnerGradient(model)
        end = Unrolled(inner, start, RATE, lambda step: Batch(pictures.roll(step, 3), labels), STEPS, exact=True).end
        return matching_loss(end, goal, squared_distance(start, goal, "it"))[0]

    made = images.clone().requires_grad_()
    unrolled = Unrolled(
        InnerGradient(model), start, RATE, lambda step: Batch(made.roll(step, 3), labels), STEPS, exact=True
    )
    for gradient in unrolled.pull_back(matching_loss(unrolled.end, goal, squared_distance(start, goal, "it"))[1]):
        gradient.backward()
    assert made.grad is not None
    towards = torch.randn(images.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    slope = (loss_at(images + 1e-6 * towards) - loss_at(images - 1e-6 * towards)) / 2e-6
    assert float((made.grad * towards).sum()) == pytest.approx(slope, rel=1e-6)


def test_tesla_drops_only_what_later_steps_owe_to_earlier_ones() -> None:
    """The gradient of each step's images by a graph that is cut before the step and after its update."""
    model = network()
    start, goal, images, labels = problem(model, soft=False)
    current, gradients = dict(start), []
    inputs = [images.roll(step, 3).requires_grad_() for step in range(STEPS)]
    for pictures in inputs:
        leaves = {name: value.detach().requires_grad_() for name, value in current.items()}
        inner = F.cross_entropy(functional_call(model, leaves, (pictures,)), labels)
        gradients.append(
            dict(zip(leaves, torch.autograd.grad(inner, list(leaves.values()), create_graph=True), strict=True))
        )
        current = {name: leaves[name].detach() - RATE * gradients[-1][name].detach() for name in leaves}
    summed = {name: start[name] - RATE * sum(gradient[name] for gradient in gradients) for name in start}
    length = torch.stack([(start[name] - goal[name]).square().sum() for name in goal]).sum()
    loss = torch.stack([(summed[name] - goal[name]).square().sum() for name in goal]).sum() / length
    wanted = torch.autograd.grad(loss, inputs)

    unrolled = Unrolled(
        InnerGradient(model), start, RATE, lambda step: Batch(images.roll(step, 3), labels), STEPS, exact=False
    )
    found = list(unrolled.pull_back(matching_loss(unrolled.end, goal, squared_distance(start, goal, "it"))[1]))
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.images, theirs, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("exact", [True, False])
def test_the_last_steps_gradient_is_the_same_with_and_without_the_recursion(exact: bool) -> None:
    model = network()
    start, goal, images, labels = problem(model, soft=False)
    unrolled = Unrolled(
        InnerGradient(model), start, RATE, lambda step: Batch(images.roll(step, 3), labels), STEPS, exact=exact
    )
    found = list(unrolled.pull_back(matching_loss(unrolled.end, goal, squared_distance(start, goal, "it"))[1]))
    last = found[0] if exact else found[-1]
    assert last.images.abs().sum() > 0
    assert unrolled.image_gradients == 3 * STEPS * COUNT


def test_what_cannot_be_compiled_is_computed_eagerly_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotLowered("no compiler here")

    monkeypatch.setattr(inner_gradient, "lowered", refuse)
    model = network().float()
    at = {name: value.detach() for name, value in model.named_parameters()}
    images, labels = torch.randn(COUNT, 2, 8, 8), torch.arange(COUNT) % CLASSES
    with pytest.warns(UserWarning, match="computed eagerly: no compiler here"):
        found = InnerGradient(model, mode="compiled").products(at, images, labels, at, hessian=True)
    eager = InnerGradient(model).products(at, images, labels, at, hessian=True)
    torch.testing.assert_close(found.images, eager.images, rtol=1e-4, atol=1e-7)
    monkeypatch.setenv("WINNOW_COMPILE", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is tried, and so nothing refused
        InnerGradient(model, mode="compiled").products(at, images, labels, at, hessian=True)
