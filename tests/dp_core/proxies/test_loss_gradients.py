"""SNIP, GradNorm, GraSP and ZiCo against backpropagation in numpy, finite differences, and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from dp_core.proxies.grad_norm import GradNorm
from dp_core.proxies.grasp import GraSP
from dp_core.proxies.snip import SNIP
from dp_core.proxies.zico import ZiCo, log_steadiness
from tests.dp_core.proxies.scoring import Blind, chain_gradients, inputs_of, layer_weights, linear_chain


def test_snip_and_grad_norm_of_a_linear_chain() -> None:
    network, inputs = linear_chain(192, 5, 4, 3), inputs_of()
    snip = SNIP(images=12).value(network, inputs, 0)
    norm = GradNorm(images=12).value(network, inputs, 0)
    gradients = chain_gradients(network, *inputs.given[0])
    weights = layer_weights(network)
    assert snip == pytest.approx(sum(np.abs(w * g).sum() for w, g in zip(weights, gradients, strict=True)), rel=1e-10)
    assert norm == pytest.approx(sum(np.linalg.norm(g) for g in gradients), rel=1e-10)


def test_only_weights_count() -> None:
    """The bias behind the last layer has a gradient where no weight has any."""
    for proxy in (SNIP(8), GradNorm(8), GraSP(8), ZiCo(8)):
        assert proxy.value(Blind(), inputs_of(), 0) == 0


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_grasp_is_how_the_gradient_turns_along_itself(temperature: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(72, 3)).double()
    inputs = inputs_of()
    found = GraSP(images=9, temperature=temperature).value(network, inputs, 0)
    images, labels = inputs.given[0]
    weights = [network.get_parameter("0.weight"), network.get_parameter("3.weight")]

    def gradient(step: float, along: list[Tensor]) -> list[Tensor]:
        moved = {name: p.detach().clone() for name, p in network.named_parameters()}
        for name, direction in zip(("0.weight", "3.weight"), along, strict=True):
            moved[name] = (moved[name] + step * direction).requires_grad_()
        logits = torch.func.functional_call(network, moved, (images.double(),))
        loss = F.cross_entropy(logits / temperature, labels)
        return list(torch.autograd.grad(loss, [moved["0.weight"], moved["3.weight"]]))

    g = gradient(0, [torch.zeros_like(w) for w in weights])
    ahead, behind = gradient(1e-4, g), gradient(-1e-4, g)
    turning = [(a - b) / 2e-4 for a, b in zip(ahead, behind, strict=True)]
    expected = -sum(float((w.detach() * t).sum()) for w, t in zip(weights, turning, strict=True))
    assert found == pytest.approx(expected, rel=1e-6)


def test_grasp_is_the_squared_gradient_where_norms_follow_every_layer() -> None:
    """The loss does not depend on the scale of such weights, so H w = -g by Euler's theorem, and -w H g = ‖g‖²."""
    layers = [nn.Linear(192, 6, bias=False), nn.BatchNorm1d(6, eps=1e-12), nn.ReLU(), nn.Linear(6, 3, bias=False)]
    network = nn.Sequential(nn.Flatten(), *layers, nn.BatchNorm1d(3, eps=1e-12)).double()
    for index in (1, 4):
        nn.init.normal_(network.get_parameter(f"{index}.weight"), generator=torch.Generator().manual_seed(index))
    inputs = inputs_of()
    found = GraSP(images=12).value(network, inputs, 0)
    images, labels = inputs.given[0]
    loss = F.cross_entropy(network(images.double()), labels)
    gradients = torch.autograd.grad(loss, [network.get_parameter("1.weight"), network.get_parameter("4.weight")])
    assert found > 0
    assert found == pytest.approx(sum(float(g.square().sum()) for g in gradients), rel=1e-8)


@pytest.mark.parametrize("batches", [2, 3])
def test_zico_of_a_linear_chain(batches: int) -> None:
    network, inputs = linear_chain(192, 5, 3), inputs_of()
    found = ZiCo(images=9, batches=batches).value(network, inputs, 0)
    assert len(inputs.given) == batches
    assert not torch.equal(inputs.given[0][0], inputs.given[1][0])
    by_batch = [chain_gradients(network, *batch) for batch in inputs.given]
    sizes = [np.abs(np.stack(layer)) for layer in zip(*by_batch, strict=True)]
    expected = sum(np.log((layer.mean(0) / layer.std(0)).sum()) for layer in sizes)
    assert found == pytest.approx(expected, rel=1e-8)


def test_zico_of_a_layer_by_hand() -> None:
    # Means of the sizes 2 and 1.5, deviations 1 and 0.5: 2 + 3. The sign changes nothing.
    assert log_steadiness(torch.tensor([[1.0, -1.0], [3.0, 2.0]])) == pytest.approx(math.log(5))
    # The second weight's size does not vary, nor does the third's.
    assert log_steadiness(torch.tensor([[1.0, -2.0, 0.0], [3.0, 2.0, 0.0]])) == pytest.approx(math.log(2))
    assert log_steadiness(torch.tensor([[5.0, -2.0], [5.0, 2.0]])) == 0
    assert math.isnan(log_steadiness(torch.tensor([[1.0, math.nan], [3.0, 1.0]])))


@given(st.integers(0, 99), st.integers(-8, 8))
def test_zico_does_not_depend_on_the_scale_of_the_loss(seed: int, power: int) -> None:
    gradients = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
    assert log_steadiness(gradients * 2.0**power) == pytest.approx(log_steadiness(gradients), rel=1e-12)
