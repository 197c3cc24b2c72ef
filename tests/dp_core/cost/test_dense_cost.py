from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dp_core.cost import CostModel, DenseCost, dense_cost
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.pruning import CRITERIA, Mask, sparsity_schedule

SHAPE = (3, 32, 32)
HERE = "tests.dp_core.cost.test_dense_cost"


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [
        ("convnet", {"width": 8, "norm": "instance"}),
        ("convnet", {"width": 8, "norm": "batch", "initialisation": "kaiming_normal"}),
        ("convnet", {"width": 8, "norm": "layer"}),
        ("alexnet", {}),
        ("resnet20", {}),
        ("vgg11", {}),
        ("vit", {}),
        ("nasbench201", {}),
    ],
)
def test_sizes_are_those_of_the_network_in_memory(name: str, hyperparameters: dict[str, Any]) -> None:
    spec = ModelSpec(name, hyperparameters)
    cost, counted = dense_cost(spec, SHAPE, 10), CostModel(build(spec, SHAPE, 10, seed=0), SHAPE)()
    assert (cost.parameters, cost.flops) == (counted.parameters, counted.flops_dense)


def test_a_network_worked_out_by_hand() -> None:
    # Two convolutions of 1×1×9 and 1×1×9 on 4×4, and a linear layer of 16×3 weights, used once: by hand.
    cost = DenseCost(parameters=70, layers=((48, 1), (9, 16), (9, 16)))
    assert (cost.weights, cost.flops) == (66, 2 * (48 + 18 * 16))
    # 0.5 × 66 = 33 go: 33 of the linear layer's weights stay, and the 4 parameters that are no weights.
    assert (cost.parameters_left(0.5), cost.least_flops(0.5)) == (37, 2 * 33)
    # 0.25 × 66 = 16.5 is rounded to the even 16, as Python does: 50 stay, two of which are a convolution's.
    assert (cost.parameters_left(0.25), cost.least_flops(0.25)) == (54, 2 * (48 + 2 * 16))


class Small(nn.Module):
    """Layers of very different use, in an order that is not that of their cost, and a norm between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 4, 3, stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.second(self.norm(self.first(images)))
        return self.head(features.mean((2, 3)))


def no_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    pytest.fail("asks for images")


def small(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Small()


@given(
    st.floats(0, 0.95),
    st.sampled_from([0.2, 0.5, 0.8]),
    st.sampled_from(["magnitude", "magnitude_layerwise", "random", "random_erk"]),
    st.integers(0, 99),
)
def test_pruning_leaves_just_so_many_parameters_and_no_fewer_flops(
    target: float, fraction: float, criterion: str, seed: int
) -> None:
    torch.manual_seed(seed)
    model, shape = Small(), (1, 9, 9)
    mask = Mask.ones(model)
    draw = torch.Generator().manual_seed(seed)
    for sparsity in sparsity_schedule(target, fraction)[1:]:
        mask = CRITERIA[criterion](model, mask, sparsity, draw, no_images)
    left, known = CostModel(model, shape)(mask), dense_cost(ModelSpec(f"{HERE}:small"), shape, 5)
    assert left.parameters_left == known.parameters_left(target)
    assert left.flops_remaining >= known.least_flops(target)


@given(st.floats(0, 0.95))
def test_the_fewest_flops_are_those_of_a_mask(target: float) -> None:
    model, shape = Small(), (1, 9, 9)
    known = dense_cost(ModelSpec(f"{HERE}:small"), shape, 5)
    # The linear layer is used once, the second convolution 16 times and the first 81 times.
    left, kept = known.weights_kept(target), {}
    for name in ("head.weight", "second.weight", "first.weight"):
        weights = Mask.ones(model)[name].flatten()
        weights[left:] = False
        left -= int(weights.sum())
        kept[name] = weights.view(Mask.ones(model)[name].shape)
    assert left == 0
    assert CostModel(model, shape)(Mask(kept)).flops_remaining == known.least_flops(target)


class NeedsNumbers(nn.Module):
    """Looks at the images, which a tensor without memory does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scale = 1.0 if images.sum().item() == 0 else 2.0
        return self.layer(scale * images.flatten(1))


def needs_numbers(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return NeedsNumbers()


class Doubling(nn.BatchNorm2d):
    """A user's own norm, which does change the shape."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([super().forward(images), images], dim=1)


def doubling(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(Doubling(3), nn.Conv2d(6, 2, 1), nn.Flatten(), nn.Linear(2 * 2 * 2, classes))


class Summarising(nn.Module):
    """One learned query looks at nine pixels: parts of one matrix are used differently often."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, 1, 4))
        self.attention = nn.MultiheadAttention(4, 1, bias=False, batch_first=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.flatten(2).transpose(1, 2)
        query = self.query.expand(len(images), -1, -1)
        return self.attention(query, pixels, pixels)[0][:, 0]


def summarising(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Summarising()


def test_parts_of_a_weight_and_products_without_one_are_counted_without_memory() -> None:
    # 4 × 4 weights each: queries and the projection behind are used once, keys and values nine times; nine scores and
    # a mean of nine values, of four numbers each.
    known = dense_cost(ModelSpec(f"{HERE}:summarising"), (4, 3, 3), 4)
    assert known == DenseCost(4 + 64, ((16, 1), (16, 1), (32, 9)), other_flops=2 * 2 * 9 * 4)
    # What no pruning takes away counts against a limit, too.
    assert known.least_flops(63 / 64) == 2 * 1 * 1 + 144


def test_a_users_network_is_counted_whatever_it_needs() -> None:
    known = dense_cost(ModelSpec(f"{HERE}:needs_numbers"), (3, 2, 2), 5)
    assert known == DenseCost(parameters=65, layers=((60, 1),))
    # 6 × 2 weights on 2×2 positions, 8 × 5 on one; biases of 2 and 5, the norm's 3 + 3.
    known = dense_cost(ModelSpec(f"{HERE}:doubling"), (3, 2, 2), 5)
    assert known == DenseCost(parameters=12 + 40 + 7 + 6, layers=((40, 1), (12, 4)))


def test_counting_leaves_torchs_generator_as_it_was() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    dense_cost(ModelSpec("convnet", {"width": 8}), SHAPE, 10)
    assert torch.equal(torch.rand(3), expected)


def test_what_cannot_be_built_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"no hyperparameter 'widht'\. Did you mean 'width'"):
        dense_cost(ModelSpec("convnet", {"widht": 8}), SHAPE, 10)
