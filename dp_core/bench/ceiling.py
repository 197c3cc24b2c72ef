"""What a machine can do at best: a network's convolutions and matrix products alone, and one large product."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from dp_core.timing import seconds_each

_SHORTEST = 0.01  # seconds of a measurement
_ATEN = torch.ops.aten


@dataclass(frozen=True)
class Product:
    """A convolution, a convolution's gradients or a matrix product, with tensors that have a shape but no content.

    It comes without the bias: sums are not what a machine's ceiling is about.
    """

    operation: Callable[..., object]
    arguments: tuple[Any, ...]

    def on(self, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
        """Return a function that computes it on random numbers, images in channels-last memory."""
        filled = [_random(entry, device, dtype) if isinstance(entry, Tensor) else entry for entry in self.arguments]
        return lambda: self.operation(*filled)


def products_of_step(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[list[Product], int]:
    """Return the products of a training step's forward and backward pass, and the step's FLOPs.

    The images' own gradient is not needed, so the first layer does not compute it. FLOPs are counted by torch: two for
    each multiply-accumulate of a convolution, a matrix product or an attention; everything else is free. `model` is
    run in training mode as it is written, and left with gradients.
    """
    recorder = _Recorder()
    model.train()
    with FlopCounterMode(display=False) as counter, recorder:
        F.cross_entropy(model(images), labels).backward()
    return recorder.products, counter.get_total_flops()


def seconds_of_products(
    products: list[Product], device: torch.device, dtype: torch.dtype, *, repetitions: int
) -> float:
    """Return the seconds that all products take one after another: the sum of their medians."""
    return sum(_median(product.on(device, dtype), device, repetitions) for product in products)


def flops_of_matmul(device: torch.device, dtype: torch.dtype, *, repetitions: int, side: int | None = None) -> float:
    """Return the FLOP/s of multiplying two square matrices, by default of 8192 rows on GPUs and 2048 elsewhere."""
    rows = side or (8192 if device.type == "cuda" else 2048)
    one, other = (torch.randn(rows, rows, device=device).to(dtype) for _ in range(2))
    return 2 * rows**3 / _median(lambda: one @ other, device, repetitions)


def _median(call: Callable[[], object], device: torch.device, repetitions: int) -> float:
    def work(times: int) -> None:
        for _ in range(times):
            call()

    with torch.no_grad():
        return statistics.median(seconds_each(work, device, repetitions=repetitions, shortest=_SHORTEST))


def _random(like: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    layout = torch.channels_last if like.dim() == 4 else torch.preserve_format
    return torch.empty_like(like, device=device, dtype=dtype, memory_format=layout).normal_()


class _Recorder(TorchDispatchMode):
    """Notes the products among everything that is computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[Product] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        product = _product(func, args)
        if product is not None:
            operation, arguments = product
            shapes = (torch.empty_like(a, device="meta") if isinstance(a, Tensor) else a for a in arguments)
            self.products.append(Product(operation, tuple(shapes)))
        return result


def _product(operation: Any, arguments: tuple[Any, ...]) -> tuple[Callable[..., object], tuple[Any, ...]] | None:
    """Return an operation of a step without its bias, or None where it is no product."""
    if operation in (_ATEN.mm.default, _ATEN.bmm.default):
        return operation, arguments
    if operation is _ATEN.addmm.default:
        return _ATEN.mm.default, arguments[1:3]
    if operation is _ATEN.baddbmm.default:
        return _ATEN.bmm.default, arguments[1:3]
    if operation is _ATEN.convolution.default:
        return operation, (*arguments[:2], None, *arguments[3:])
    if operation is _ATEN.convolution_backward.default:
        gradients = [*arguments[-1][:2], False]
        return operation, (*arguments[:3], None, *arguments[4:-1], gradients)
    return None
