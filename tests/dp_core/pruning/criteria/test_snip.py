"""SNIP against the definition of connection sensitivity: the gradient of factors on the connections."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from dp_core.pruning import SNIP, Mask
from tests.dp_core.pruning.criteria.calling import draw, examples_of, linear_net
from tests.dp_core.small import random_data, same, small_model


def sensitivities(mask: Mask, seed: int) -> dict[str, Tensor]:
    """Return |∂L/∂c| at c = mask, where every weight in scope is used as c·w (Lee et al. 2019, equations 3 to 5)."""
    model, data = small_model(seed=seed).train(), random_data()
    parameters = dict(model.named_parameters())
    factors = {name: tensor.float().requires_grad_() for name, tensor in mask.items()}
    replaced = {name: factor * parameters[name].detach() for name, factor in factors.items()}
    loss = F.cross_entropy(functional_call(model, replaced, (data.images,)), data.labels)
    gradients = torch.autograd.grad(loss, list(factors.values()))
    return {name: g.abs() for name, g in zip(factors, gradients, strict=True)}


def snip(mask: Mask, sparsity: float, seed: int = 0) -> Mask:
    data = random_data()
    return SNIP(images=20)(small_model(seed=seed), mask, sparsity, draw(), examples_of(data.images, data.labels))


@pytest.mark.parametrize("seed", range(8))
def test_it_removes_the_connections_of_least_sensitivity_round_after_round(seed: int) -> None:
    mask = Mask.ones(small_model())
    for sparsity in (0.3, 0.6, 0.9):
        expected = sensitivities(mask, seed)
        left = torch.cat([expected[name][kept] for name, kept in mask.items()])
        threshold = left.sort().values[round(sparsity * 144) - (mask.total - mask.kept)]
        found = snip(mask, sparsity, seed)
        for name, kept in mask.items():
            clear = (expected[name] - threshold).abs() > 1e-6 * threshold  # not decided by rounding
            assert torch.equal(found[name][clear], (kept & (expected[name] > threshold))[clear])
            assert int((~clear).sum()) <= 1
        mask = found


def test_a_mask_has_the_last_word_about_weights_that_are_not_zero_yet() -> None:
    model, data = small_model(), random_data()
    mask = snip(Mask.ones(model), 0.5)
    examples = examples_of(data.images, data.labels)
    unmasked = SNIP()(model, mask, 0.8, draw(), examples)
    mask.apply_(model)
    assert same(dict(unmasked), dict(SNIP()(model, mask, 0.8, draw(), examples)))


def test_scores_by_hand() -> None:
    # One image x = (1, 2) of class 0 and logits w₁·x = w₂·x = 0: both probabilities are ½, so ∂L/∂w₁ = -x/2 and
    # ∂L/∂w₂ = x/2, and the scores are |w| x / 2 = (1, 1), (3, 3). By magnitude -1 would go first, but it is equal to 2.
    model = linear_net([[2.0, -1.0], [-6.0, 3.0]])
    images, labels = torch.tensor([[1.0, 2.0]]), torch.tensor([0])
    found = SNIP(images=1)(model, Mask.ones(model), 0.25, draw(), examples_of(images, labels))
    assert found["0.weight"].tolist() == [[False, True], [True, True]]
    found = SNIP(images=1)(model, Mask.ones(model), 0.5, draw(), examples_of(images, labels))
    assert found["0.weight"].tolist() == [[False, False], [True, True]]
