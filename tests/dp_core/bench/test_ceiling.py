"""FLOPs of a step worked out by hand, and the products that the ceiling is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dp_core import timing
from dp_core.bench.ceiling import Product, flops_of_matmul, products_of_step, seconds_of_products
from dp_core.models import ModelSpec, build
from dp_core.timing import seconds_each

CPU = torch.device("cpu")
ATEN = torch.ops.aten


def three_layers() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(5 * 4 * 4, 7),
    )


def products_of(model: nn.Module, shape: tuple[int, ...]) -> tuple[list[Product], int]:
    images = torch.randn(shape)
    return products_of_step(model, images, torch.arange(shape[0]) % 3)


def shapes(product: Product) -> list[tuple[int, ...]]:
    return [tuple(entry.shape) for entry in product.arguments if isinstance(entry, Tensor)]


def test_flops_of_a_step_worked_out_by_hand() -> None:
    first = 2 * 6 * 8 * 8 * 3 * 4 * 3**2  # 2·N·H·W·Cin·Cout·k²
    second = 2 * 6 * 4 * 4 * 4 * 5 * 3**2
    linear = 2 * 6 * 80 * 7
    # Backward is the weights' gradient and the input's, each as much as forward; nobody needs that of the images.
    assert products_of(three_layers(), (6, 3, 8, 8))[1] == 2 * first + 3 * second + 3 * linear


def test_the_products_have_the_layers_shapes() -> None:
    products, _ = products_of(three_layers(), (6, 3, 8, 8))
    forward, backward = products[:3], products[3:]
    assert [product.operation for product in forward] == [
        ATEN.convolution.default, ATEN.convolution.default, ATEN.mm.default,
    ]  # fmt: skip
    assert [shapes(product) for product in forward] == [
        [(6, 3, 8, 8), (4, 3, 3, 3)],
        [(6, 4, 8, 8), (5, 4, 3, 3)],
        [(6, 80), (80, 7)],
    ]
    linear = [product for product in backward if product.operation is ATEN.mm.default]
    assert {tuple(shapes(product)) for product in linear} == {((6, 7), (7, 80)), ((7, 6), (6, 80))}
    convolutions = [product for product in backward if product.operation is ATEN.convolution_backward.default]
    assert [shapes(product) for product in convolutions] == [  # the output's gradient, input, weight
        [(6, 5, 4, 4), (6, 4, 8, 8), (5, 4, 3, 3)],
        [(6, 4, 8, 8), (6, 3, 8, 8), (4, 3, 3, 3)],
    ]
    assert len(linear) + len(convolutions) == len(backward)
    # Input, weight, bias: the second layer's input needs a gradient, the images do not, biases are left out.
    assert [product.arguments[-1] for product in convolutions] == [[True, True, False], [False, True, False]]


class Tokens(nn.Module):
    """A layer used twice, on tokens, and a batch of products."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(6, 6, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.twice(self.twice(images.flatten(2)))
        return (tokens @ tokens.transpose(1, 2)).sum(2)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (three_layers(), (2, 3, 8, 8)),
        (Tokens(), (2, 3, 2, 3)),
        (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Flatten(), nn.Linear(8, 3)), (2, 4, 3, 3)),
        (build(ModelSpec("convnet", {"width": 4, "depth": 2}), (3, 8, 8), 3, seed=0), (2, 3, 8, 8)),
    ],
)
def test_replayed_products_cost_what_the_step_does(model: nn.Module, shape: tuple[int, ...]) -> None:
    products, flops = products_of(model, shape)
    with FlopCounterMode(display=False) as counter:
        for product in products:
            product.on(CPU, torch.float32)()
    assert counter.get_total_flops() == flops > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_done_in_the_format_and_layout_asked_for(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    product = Product(lambda *tensors: seen.extend(tensors), (torch.empty(2, 3, 4, 5), torch.empty(6, 7).t()))
    product.on(CPU, dtype)()
    assert [tensor.dtype for tensor in seen] == [dtype, dtype]
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert seen[1].stride() == (1, 7)
    assert float(seen[0].float().std()) > 0.1


def test_seconds_are_those_of_all_products_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dp_core.bench.ceiling.seconds_each", lambda *_, **__: [9.0, 1.0, 2.0])
    product = Product(ATEN.mm.default, (torch.empty(2, 2), torch.empty(2, 2)))
    assert seconds_of_products([product, product], CPU, torch.float32, repetitions=3) == 4.0
    assert flops_of_matmul(CPU, torch.float32, repetitions=3, side=10) == 2 * 10**3 / 2


def test_short_work_is_measured_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, done = 0.0, []

    def work(pieces: int) -> None:
        nonlocal clock
        done.append(pieces)
        clock += 0.25 * pieces

    monkeypatch.setattr(timing, "now", lambda device: clock)
    assert seconds_each(work, CPU, repetitions=3, shortest=1.75) == [0.25] * 3
    assert done == [1, 1, 7, 7, 7]
    done.clear()
    assert seconds_each(work, CPU, repetitions=2, shortest=0, least=4) == [0.25] * 2
    assert done == [4, 4, 4, 4]
