from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dp_core.cost import Cost, CostModel
from dp_core.models import ModelSpec, build
from dp_core.pruning import Mask, Scope
from tests.dp_core.small import copy_of, same, small_model


def counted_by_torch(model: nn.Module, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "hyperparameters", "shape"),
    [
        ("convnet", {"width": 8}, (3, 32, 32)),
        ("convnet", {"depth": 1, "width": 8, "pooling": "none"}, (1, 9, 5)),
        ("convnet", {"depth": 4, "width": 12, "norm": "batch", "pooling": "max"}, (3, 19, 32)),
        ("convnet", {"depth": 2, "width": 8, "norm": "layer", "activation": "sigmoid"}, (2, 8, 8)),
        ("alexnet", {}, (3, 32, 32)),
    ],
)
def test_dense_flops_are_those_that_torch_counts(
    name: str, hyperparameters: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    model = build(ModelSpec(name, hyperparameters), shape, 10, seed=0)
    cost = CostModel(model, shape)()
    assert cost.flops_dense == cost.flops_remaining == counted_by_torch(model, shape)
    assert cost.parameters == cost.parameters_left == sum(p.numel() for p in model.parameters())


def test_the_literatures_networks_cost_what_is_written_of_them() -> None:
    # Training is three forward passes' worth: 0.30 GFLOP an image for ConvNet-3, 1.47 for the paper's AlexNet.
    for name, expected in (("convnet", 0.30e9), ("alexnet", 1.47e9)):
        cost = CostModel(build(ModelSpec(name), (3, 32, 32), 10, seed=0), (3, 32, 32))()
        assert 3 * cost.flops_dense == pytest.approx(expected, rel=0.03)


class Unusual(nn.Module):
    """Strides, groups, a linear layer on tokens, a layer used twice and one never used."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, stride=2, groups=2, bias=False)
        self.tokens = nn.Linear(8, 6)
        self.twice = nn.Linear(6, 6)
        self.never = nn.Linear(50, 50)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.tokens(self.grouped(images).flatten(2).transpose(1, 2))
        return self.twice(self.twice(tokens)).mean(1)


def test_layers_are_priced_by_how_often_they_are_used() -> None:
    model = Unusual()
    price = CostModel(model, (4, 9, 7))
    assert price().flops_dense == counted_by_torch(model, (4, 9, 7))
    # A 3×3 kernel with stride 2 fits 4×3 times into 9×7, so all layers work on 12 positions, `twice` twice on each.
    mask = Mask({name: torch.zeros_like(kept) for name, kept in Mask.ones(model).items()})
    for name, uses in (("grouped.weight", 12), ("tokens.weight", 12), ("twice.weight", 24), ("never.weight", 0)):
        one = {key: kept.clone() for key, kept in mask.items()}
        one[name].view(-1)[0] = True
        assert price(Mask(one)).flops_remaining == 2 * uses


def test_a_masked_network_worked_out_by_hand() -> None:
    # 18 weights on 16 positions each and 96 on one; 2 + 3 biases and 2 + 2 norm parameters are never pruned.
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))
    kept_first, kept_second = torch.zeros(2, 1, 3, 3, dtype=torch.bool), torch.zeros(3, 32, dtype=torch.bool)
    kept_first.view(-1)[:5] = True
    kept_second.view(-1)[20:30] = True
    cost = CostModel(model, (1, 4, 4))(Mask({"0.weight": kept_first, "3.weight": kept_second}))
    assert cost == Cost(
        parameters=18 + 96 + 9,
        parameters_left=5 + 10 + 9,
        flops_dense=2 * (18 * 16 + 96),
        flops_remaining=2 * (5 * 16 + 10),
    )


def test_weights_outside_of_a_masks_scope_are_kept() -> None:
    # As above, but the convolution's 18 weights or the linear layer's 96 are out of scope and count in full.
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))
    price = CostModel(model, (1, 4, 4))
    linear, convolution = (Mask.ones(model, Scope((name,))) for name in ("3.weight", "0.weight"))
    kept = torch.zeros(3, 32, dtype=torch.bool)
    kept.view(-1)[20:30] = True
    dense = 2 * (18 * 16 + 96)
    assert price(linear) == price(convolution) == price() == Cost(123, 123, dense, dense)
    assert price(Mask({"3.weight": kept})) == Cost(123, 18 + 10 + 9, dense, 2 * (18 * 16 + 10))
    kept = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    kept[1, 0, 1, 1] = True
    assert price(Mask({"0.weight": kept})) == Cost(123, 1 + 96 + 9, dense, 2 * (16 + 96))


@given(st.integers(0, 999), st.sets(st.sampled_from(["grouped.weight", "tokens.weight", "twice.weight"]), min_size=1))
def test_a_mask_of_a_part_costs_what_the_same_mask_of_everything_costs(seed: int, names: set[str]) -> None:
    model, draw = Unusual(), torch.Generator().manual_seed(seed)
    part = {name: torch.rand(ones.shape, generator=draw) < 0.5 for name, ones in Mask.ones(model).items()}
    part = {name: kept for name, kept in part.items() if name in names}
    price = CostModel(model, (4, 9, 7))
    assert price(Mask(part)) == price(Mask({**Mask.ones(model), **part}))


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_network_as_it_was(training: bool) -> None:
    model = small_model("batch").train(training)
    before = copy_of(model)
    CostModel(model, (1, 6, 6))
    assert model.training is training
    assert same(copy_of(model), before)
    assert not any(module._forward_hooks for module in model.modules())
