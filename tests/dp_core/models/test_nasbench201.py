from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.cost import CostModel
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CIFAR = (3, 32, 32)

# Architectures of the benchmark, with the parameters and millions of FLOPs (float32) that it gives them on CIFAR-10.
PUBLISHED = [
    ("|none~0|+|none~0|none~1|+|none~0|skip_connect~1|skip_connect~2|", 73_306, 7.943872),
    (
        "|avg_pool_3x3~0|+|none~0|nor_conv_1x1~1|+|avg_pool_3x3~0|skip_connect~1|avg_pool_3x3~2|",
        101_306,
        16.176832,
    ),
    (
        "|nor_conv_1x1~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|avg_pool_3x3~2|",
        157_306,
        23.611073,
    ),
    ("|skip_connect~0|+|skip_connect~0|nor_conv_3x3~1|+|none~0|avg_pool_3x3~1|avg_pool_3x3~2|", 316_346, 46.343872),
    ("|none~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|none~2|", 344_346, 48.125633),
    (
        "|avg_pool_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|avg_pool_3x3~2|",
        344_346,
        51.996353,
    ),
    ("|nor_conv_1x1~0|+|nor_conv_1x1~0|none~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|", 400_346, 56.850113),
    (
        "|none~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|skip_connect~1|nor_conv_3x3~2|",
        587_386,
        83.945152,
    ),
    (
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|nor_conv_1x1~0|avg_pool_3x3~1|avg_pool_3x3~2|",
        615_386,
        90.887871,
    ),
    (
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|skip_connect~1|nor_conv_3x3~2|",
        1_288_506,
        187.041473,
    ),
]


def text_of(cell: list[list[str]]) -> str:
    return "+".join("|" + "|".join(f"{name}~{i}" for i, name in enumerate(node)) + "|" for node in cell)


CELLS = st.tuples(*(st.lists(st.sampled_from(OPERATIONS), min_size=node, max_size=node) for node in (1, 2, 3))).map(
    list
)


def operations_of_other_layers(model: nn.Module) -> int:
    """Return what a forward pass of one image does in ReLUs (1 an element), norms (2) and poolings (k² an output)."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.ReLU):
            total += inputs[0].numel()
        elif isinstance(module, nn.BatchNorm2d):
            total += 2 * inputs[0].numel()
        elif isinstance(module, nn.AvgPool2d):
            assert isinstance(module.kernel_size, int)
            total += module.kernel_size**2 * output.numel()

    for module in model.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *CIFAR))
    return total


@pytest.mark.parametrize(("architecture", "parameters", "mflops"), PUBLISHED)
def test_parameters_and_flops_are_the_benchmarks(architecture: str, parameters: int, mflops: float) -> None:
    model = build(ModelSpec("nasbench201", {"architecture": architecture}), CIFAR, 10)
    assert sum(p.numel() for p in model.parameters()) == parameters
    multiply_accumulates = CostModel(model, CIFAR)().flops_dense // 2
    global_pooling = 81 * 64  # 9² for each channel: what is left, the same for all architectures
    flops = multiply_accumulates + operations_of_other_layers(model) + global_pooling
    assert np.float32(flops / 1e6) == np.float32(mflops)
    convolutions, poolings = architecture.count("nor_conv"), architecture.count("avg_pool")
    assert flops == multiply_accumulates + 430_080 * convolutions + 1_290_240 * poolings + 160_832  # as documented


@given(cell=CELLS, width=st.integers(1, 3), cells=st.integers(1, 2))
@settings(max_examples=25, deadline=None)
def test_any_cell_is_the_network_written_by_hand(cell: list[list[str]], width: int, cells: int) -> None:
    hyperparameters = {"architecture": text_of(cell), "width": width, "cells": cells}
    model = build(ModelSpec("nasbench201", hyperparameters), (2, 8, 12), 3, seed=0).double()
    images = torch.randn(4, 2, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = model(images)
    torch.testing.assert_close(logits, by_hand(model, cell, cells, images))
    logits.square().sum().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def by_hand(model: nn.Module, cell: list[list[str]], cells: int, images: Tensor) -> Tensor:
    """Compute the network of Dong & Yang's figure 1 in training, taking the weights in the order of the layers."""
    weights = (p for p in model.parameters() if p.dim() > 1)

    def convolved(x: Tensor, stride: int = 1) -> Tensor:
        weight = next(weights)
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return normalised(x)

    def edge(name: str, x: Tensor) -> Tensor:
        if name.startswith("nor_conv"):
            return convolved(x.clamp(min=0))
        if name == "avg_pool_3x3":
            ones = F.avg_pool2d(torch.ones_like(x), 3, 1, 1)  # the share of a window that is inside
            return F.avg_pool2d(x, 3, 1, 1) / ones
        return x if name == "skip_connect" else torch.zeros_like(x)

    x = convolved(images)
    for stage in range(3):
        if stage:
            main = convolved(convolved(x.clamp(min=0), stride=2).clamp(min=0))
            x = main + F.conv2d(F.avg_pool2d(x, 2), next(weights))
        for _ in range(cells):
            zero = x
            one = edge(cell[0][0], zero)
            two = edge(cell[1][0], zero) + edge(cell[1][1], one)
            x = edge(cell[2][0], zero) + edge(cell[2][1], one) + edge(cell[2][2], two)
    bias = model.get_parameter("classifier.bias")
    return normalised(x).clamp(min=0).mean((2, 3)) @ next(weights).T + bias


def normalised(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


@pytest.mark.parametrize("sides", [(1, 1), (7, 5), (28, 28), (30, 31)])
def test_images_of_any_size_are_taken(sides: tuple[int, int]) -> None:
    model = build(ModelSpec("nasbench201", {"width": 2, "cells": 1}), (1, *sides), 4).eval()
    assert model(torch.randn(2, 1, *sides)).shape == (2, 4)


def test_by_default_a_cell_is_a_residual_block() -> None:
    model = build(ModelSpec("nasbench201", {"width": 2, "cells": 1}), (1, 4, 4), 4, seed=0)
    cell = model.get_submodule("stage1.0")
    x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    first, second = (p for p in cell.parameters() if p.dim() == 4)
    inner = normalised(F.conv2d(x.clamp(min=0), first, padding=1))
    expected = x + normalised(F.conv2d(inner.clamp(min=0), second, padding=1))
    torch.testing.assert_close(cell(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("|none~0|+|none~0|none~1|", r"cannot read the architecture '.*', which needs three nodes such as '\|nor_conv"),
        ("", r"cannot read the architecture '', which needs three nodes"),
        (7, r"cannot read the architecture 7, which needs three nodes"),
        (
            "|none~0|+|none~0|none~0|+|none~0|none~1|none~2|",
            r"whose node 2 is '\|none~0\|none~0\|' instead of the form '\|<operation>~0\|<operation>~1\|'",
        ),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", r"whose node 2 is '\|none~0\|' instead"),
        ("none~0+|none~0|none~1|+|none~0|none~1|none~2|", r"whose node 1 is 'none~0' instead"),
        ("|none~0|+|none~0|none~1|+|none|none~1|none~2|", r"whose node 3 is '\|none\|none~1\|none~2\|' instead"),
        (
            "|none~0|+|none~0|nor_conv_3x4~1|+|none~0|none~1|none~2|",
            r"no operation 'nor_conv_3x4', .* Did you mean 'nor_conv_3x3'\? Known: none, skip_connect",
        ),
        ("|~0|+|none~0|none~1|+|none~0|none~1|none~2|", r"no operation '', "),
        ("|+|none~0|none~1|+|none~0|none~1|none~2|", r"whose node 1 is '\|' instead"),
    ],
)
def test_an_architecture_that_cannot_be_read_is_told_in_one_sentence(architecture: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(ModelSpec("nasbench201", {"architecture": architecture}), CIFAR, 10)


def test_blanks_around_a_node_do_no_harm() -> None:
    spaced = "|none~0| + |none~0|none~1| + |skip_connect~0|none~1|none~2| "
    build(ModelSpec("nasbench201", {"architecture": spaced, "width": 1, "cells": 1}), (1, 4, 4), 2)


@pytest.mark.parametrize("cells", [0, 1.0, "5"])
def test_a_number_of_cells_that_is_not_whole_is_refused(cells: object) -> None:
    with pytest.raises(UserError, match=f"whole cells of at least 1, not {cells!r}"):
        build(ModelSpec("nasbench201", {"cells": cells}), CIFAR, 10)
