"""GraSP against Hessians written out, and its sign against what removing a weight really does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp_core.pruning import GraSP, Mask
from dp_core.pruning.criteria.grasp import hessian_gradient_product
from tests.dp_core.pruning.criteria.calling import draw, examples_of

TEMPERATURE = 3.0


def network() -> nn.Sequential:
    """Return a network of 4·3 + 3·4 weights, biases that are out of scope, and a smooth activation."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 4)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw(parameter.numel()), dtype=torch.float64))
    return model


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(8, 4, generator=draw(9), dtype=torch.float64), torch.arange(8) % 4


def loss_of(flat: Tensor) -> Tensor:
    """Return the loss of `network` with these 24 weights."""
    images, labels = batch()
    first, first_bias, second, second_bias = [parameter.detach() for parameter in network().parameters()]
    hidden = torch.tanh(F.linear(images, flat[:12].view_as(first), first_bias))
    return F.cross_entropy(F.linear(hidden, flat[12:].view_as(second), second_bias) / TEMPERATURE, labels)


def gradient_of(flat: Tensor) -> Tensor:
    leaf = flat.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(leaf), leaf)
    return gradient


def flat_weights() -> Tensor:
    return torch.cat([weight.detach().reshape(-1) for weight in network().parameters() if weight.dim() == 2])


def test_on_a_quadratic_the_product_is_the_closed_form() -> None:
    # L = ½ wᵀAw + bᵀw has g = Aw + b and H = A.
    generator = draw()
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    a, b = root + root.T, torch.randn(6, generator=generator, dtype=torch.float64)
    w = torch.randn(6, generator=generator, dtype=torch.float64).requires_grad_()
    product = hessian_gradient_product(0.5 * w @ a @ w + b @ w, {"w": w}, Mask({"w": torch.ones(6).bool()}))
    assert torch.allclose(product["w"], a @ (a @ w.detach() + b), rtol=1e-12)
    # Without weights 1 and 4 there is the quadratic of the others.
    kept = torch.tensor([True, False, True, True, False, True])
    product = hessian_gradient_product(0.5 * w @ a @ w + b @ w, {"w": w}, Mask({"w": kept}))
    expected = a[kept][:, kept] @ (a @ w.detach() + b)[kept]
    assert torch.allclose(product["w"][kept], expected, rtol=1e-12)
    assert product["w"][~kept].tolist() == [0, 0]


@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.75])
def test_it_removes_the_weights_of_highest_score_by_the_explicit_hessian(sparsity: float) -> None:
    flat = flat_weights()
    score = -flat * (torch.autograd.functional.hessian(loss_of, flat) @ gradient_of(flat))
    removed = score.argsort(descending=True)[: round(sparsity * 24)]
    model = network()
    found = GraSP(8, TEMPERATURE)(model, Mask.ones(model), sparsity, draw(), examples_of(*batch()))
    assert sorted((~torch.cat([t.reshape(-1) for t in found.values()])).nonzero().view(-1).tolist()) == sorted(
        removed.tolist()
    )


def test_what_it_removes_first_raises_the_gradient_norm_and_what_it_keeps_last_lowers_it() -> None:
    # By finite differences: shrink one weight a little towards zero and look at what becomes of ‖g‖².
    flat = flat_weights()
    flow = gradient_of(flat).square().sum()
    shrunk = flat * (1 - 1e-5 * torch.eye(24))
    change = torch.stack([gradient_of(row).square().sum() - flow for row in shrunk])
    model = network()
    order = examples_of(*batch())
    first = GraSP(8, TEMPERATURE)(model, Mask.ones(model), 1 / 24, draw(), order)
    last = GraSP(8, TEMPERATURE)(model, Mask.ones(model), 23 / 24, draw(), order)
    assert change.max() > 0 > change.min()
    assert int((~torch.cat([t.reshape(-1) for t in first.values()])).nonzero()) == int(change.argmax())
    assert int(torch.cat([t.reshape(-1) for t in last.values()]).nonzero()) == int(change.argmin())


def test_attention_has_the_second_derivative_that_it_needs() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 3)

        def forward(self, images: Tensor) -> Tensor:
            query, key, value = self.qkv(images.flatten(2)).unsqueeze(1).chunk(3, -1)
            return self.out(F.scaled_dot_product_attention(query, key, value).flatten(1, 2).mean(1))

    model = Attention()
    images = torch.randn(6, 5, 2, 2, generator=draw())
    found = GraSP(6)(model, Mask.ones(model), 0.5, draw(), examples_of(images, torch.arange(6) % 3))
    assert found.kept == 30
