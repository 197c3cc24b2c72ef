"""SynFlow against products of matrices and attention by hand, its conservation laws, and what they protect."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.pruning import SNIP, GlobalMagnitude, Mask, Scope, SynFlow, check_criterion
from dp_core.pruning.criteria.synflow import path_network, synaptic_flow
from tests.dp_core.pruning.criteria.calling import draw, examples_of, kept_counts, linear_net, pruned

ONES = torch.ones(1, 1, 8, 8)


def flow(model: nn.Module, images: Tensor, mask: Mask | None = None) -> tuple[dict[str, Tensor], float]:
    """Return the scores of one pass, and R."""
    network, weights = path_network(model, mask or Mask.ones(model))
    return synaptic_flow(network, weights, images.double()), float(network(images.double()).sum().detach())


def convnet(norm: str = "batch", **hyperparameters: object) -> nn.Module:
    return build(ModelSpec("convnet", {"depth": 3, "width": 4, "norm": norm, **hyperparameters}), (1, 8, 8), 3, seed=0)


def test_scores_of_two_linear_layers_by_hand() -> None:
    model = linear_net([[1.0, -2.0], [3.0, 4.0]], [[-5.0, 6.0]])
    scores, total = flow(model, torch.ones(1, 2))
    # R = 5 (1 + 2) + 6 (3 + 4) = 57. A first-layer weight carries |w| × the output weight behind it, a second-layer
    # weight |w| × what comes in: 3 and 7.
    assert total == 57
    assert scores["0.weight"].tolist() == [[5, 10], [18, 24]]
    assert scores["1.weight"].tolist() == [[15, 42]]
    mask = Mask({"0.weight": torch.tensor([[True, False], [True, True]]), "1.weight": torch.ones(1, 2).bool()})
    scores, total = flow(model, torch.ones(1, 2), mask)
    assert total == 47
    assert scores["0.weight"].tolist() == [[5, 0], [18, 24]]
    assert scores["1.weight"].tolist() == [[5, 42]]


def test_every_step_scores_what_the_one_before_has_left() -> None:
    model = linear_net([[5.0, -6.0], [7.0, 8.0]], [[1.0, -1.0]])
    examples = examples_of(torch.randn(3, 2), torch.zeros(3).long())
    # Scores 5, 6, 7, 8 | 11, 15. At once the lowest three go, and the weight of 11 has nothing to pass on.
    found = SynFlow(iterations=1)(model, Mask.ones(model), 0.5, draw(), examples)
    assert [t.int().tolist() for t in found.values()] == [[[0, 0], [0, 1]], [[1, 1]]]
    # In three steps of factor 2^(-1/3) 4.8, 3.8 and 3 are left, so one goes in each: 5, then 6 (6, 7, 8 | 6, 15, the
    # first of equals), then what had 11 at first and has 0 now.
    found = SynFlow(iterations=3)(model, Mask.ones(model), 0.5, draw(), examples)
    assert [t.int().tolist() for t in found.values()] == [[[0, 0], [1, 1]], [[0, 1]]]


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_the_flow_of_every_layer_is_the_same(norm: str, activation: str, pooling: str) -> None:
    """Theorem 2 (network-wise conservation), with the cuts between the layers."""
    model = convnet(norm, activation=activation, pooling=pooling)
    with torch.no_grad():  # a trained norm; none of it may matter
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or parameter.dim() == 1:
                parameter.uniform_(-1, 1, generator=draw())
    scores, total = flow(model, ONES)
    assert total > 0
    assert [float(score.sum()) for score in scores.values()] == pytest.approx([total] * 4, rel=1e-12)


def test_flow_into_a_unit_is_flow_out_of_it() -> None:
    """Theorem 1 (neuron-wise conservation)."""
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    scores, _ = flow(model, torch.ones(1, 6))
    assert torch.allclose(scores["0.weight"].sum(1), scores["2.weight"].sum(0), rtol=1e-12)


def test_dropout_drops_nothing() -> None:
    first, last = linear_net([[1.0, -2.0], [3.0, 4.0]], [[-5.0, 6.0]])
    scores, total = flow(nn.Sequential(first, nn.Dropout(0.5), last), torch.ones(1, 2))
    assert total == 57
    assert scores["2.weight"].tolist() == [[15, 42]]


def test_very_deep_networks_stay_in_range() -> None:
    model = nn.Sequential(*[nn.Linear(64, 64, bias=False) for _ in range(40)])
    for parameter in model.parameters():
        nn.init.constant_(parameter, -4.0)
    scores, total = flow(model, torch.ones(1, 64))
    # Every layer multiplies by 4·64 = 256: R = 64 · 256⁴⁰ ≈ 10⁹⁸, beyond float32.
    assert math.log2(total) == 6 + 8 * 40
    assert all(torch.isfinite(score).all() for score in scores.values())


def test_it_empties_no_layer_where_magnitude_does() -> None:
    model = convnet()
    with torch.no_grad():
        model.get_parameter("blocks.4.weight").mul_(1e-3)
    sparsity = 1 - 8 / Mask.ones(model).total  # eight weights for four layers
    assert kept_counts(pruned(GlobalMagnitude(), model, Mask.ones(model), sparsity))[1] == 0
    mask = SynFlow()(model, Mask.ones(model), sparsity, draw(), examples_of(ONES, torch.zeros(1).long()))
    assert mask.kept == 8
    assert min(kept_counts(mask)) > 0
    _, left = flow(model, ONES, mask)
    assert left > 0, "no path is left from the image to the outputs"


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=3, max_size=5), st.integers(0, 99), st.floats(0, 1))
def test_a_chain_loses_no_layer_where_weights_go_one_at_a_time(widths: list[int], seed: int, fraction: float) -> None:
    """Theorem 3 (maximal critical compression): down to as many weights as there are layers, which are then a path."""
    draws = draw(seed)
    model = linear_net(*(torch.randn(o, i, generator=draws).tolist() for i, o in pairwise(widths)))
    dense = Mask.ones(model)
    layers, total = len(dense), dense.total
    kept = layers + round(fraction * (total - layers))
    iterations = math.ceil(total * math.log(total / kept)) + 1  # the first step is the largest
    examples = examples_of(torch.ones(1, widths[0]), torch.zeros(1).long())
    mask = SynFlow(iterations)(model, dense, 1 - kept / total, draw(), examples)
    assert mask.kept == kept
    assert min(kept_counts(mask)) > 0
    assert flow(model, torch.ones(1, widths[0]), mask)[1] > 0


@pytest.mark.parametrize(("kept", "expected"), [(3, [1, 2]), (2, [0, 2]), (1, [0, 1])])
def test_without_flow_nothing_is_protected(kept: int, expected: list[int]) -> None:
    # The last layer is zero, so all scores are, and of equals the first go first.
    model = linear_net([[1.0, 2.0, 3.0]], [[0.0], [0.0]])
    examples = examples_of(torch.ones(1, 3), torch.zeros(1).long())
    assert kept_counts(SynFlow(5)(model, Mask.ones(model), 1 - kept / 5, draw(), examples)) == expected


class Beside(nn.Module):
    """A branch that scales its input by 2⁻¹⁰, and the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = linear_net([[2.0**-10]])

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)


def test_a_branch_that_carries_little_is_emptied() -> None:
    first, last = linear_net([[1.0, 1.0]], [[1.0], [1.0]])
    model = nn.Sequential(first, Beside(), last)
    examples = examples_of(torch.ones(1, 2), torch.zeros(1).long())
    # The branch scores 2⁻¹⁰ · 2 · 2, every other weight about 2.
    mask = SynFlow()(model, Mask.ones(model), 0.2, draw(), examples)
    assert kept_counts(mask) == [2, 0, 2]


def vit(depth: int) -> nn.Module:
    spec = ModelSpec("vit", {"depth": depth, "width": 8, "heads": 2, "patch": 4})
    return build(spec, (1, 8, 8), 3, seed=0)


def test_attention_passes_on_what_comes_from_the_image_alone() -> None:
    model = vit(depth=1)
    with torch.no_grad():
        model.get_parameter("class_token").fill_(7.0)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(-3.0)
    scores, total = flow(model, ONES)
    w = {name.removesuffix(".weight"): p.detach().double().abs() for name, p in model.named_parameters()}
    # The class token asks nothing (its query is zero), so it gets equal parts of itself, zero, and of four patches.
    value = w["blocks.0.attention.1.qkv"][16:] @ w["embedding"].sum((1, 2, 3))
    token = w["blocks.0.attention.1.projection"] @ value * 4 / 5
    token = token + w["blocks.0.mlp.3"] @ F.gelu(w["blocks.0.mlp.1"] @ token)
    assert total == pytest.approx(float((w["classifier"] @ token).sum()), rel=1e-12)
    assert total > 0
    assert float(scores["classifier.weight"].sum()) == pytest.approx(total, rel=1e-12)
    assert not scores["blocks.0.attention.1.qkv.weight"][:16].any()


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.98])
def test_transformers_of_several_blocks_are_pruned_and_stay_connected(sparsity: float) -> None:
    model = vit(depth=3)
    scores, total = flow(model, ONES)
    assert 0 < total < math.inf
    assert all(torch.isfinite(score).all() for score in scores.values())
    mask = SynFlow(20)(model, Mask.ones(model), sparsity, draw(), examples_of(ONES, torch.zeros(1).long()))
    assert mask.total - mask.kept == round(sparsity * mask.total)
    assert flow(model, ONES, mask)[1] > 0


def test_neither_the_images_nor_the_signs_of_the_weights_matter() -> None:
    model, labels = convnet(), torch.zeros(1).long()
    masks = []
    for seed, sign in ((0, 1), (1, -1)):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(sign)
        images = torch.randn(1, 1, 8, 8, generator=draw(seed))
        masks.append(SynFlow(10)(model, Mask.ones(model), 0.9, draw(), examples_of(images, labels)))
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_recurrent_layers_are_refused_by_name() -> None:
    model = nn.Sequential(OrderedDict(rows=nn.GRUCell(4, 3), classifier=nn.Linear(3, 2)))
    with pytest.raises(UserError, match=r"^synflow has no score for recurrent layers.*: 'rows' is GRUCell\.$"):
        check_criterion(SynFlow(), model, (1, 1, 4), Scope())
    check_criterion(SNIP(), model, (1, 1, 4), Scope())
