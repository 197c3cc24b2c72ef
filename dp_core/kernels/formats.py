"""Memory formats: which networks may be executed in channels-last memory, and what the others are to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Layers of torch that hand on the format of the images [N, C, H, W] they get, and compute the same in either.
FORMAT_KEEPING = frozenset(
    {
        nn.Identity, nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm, nn.Dropout, nn.Dropout2d,
        nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
        nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
        nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish,
    }
)  # fmt: skip
_KNOWN = FORMAT_KEEPING | {nn.Sequential, nn.ModuleList, nn.LayerNorm, nn.BatchNorm1d, nn.Flatten, nn.Linear}


def takes_any_format(model: nn.Module) -> bool:
    """Return whether nobody can tell in which memory format `model` is executed.

    That is so if it is made of torch's usual layers and of modules whose class says `any_memory_format = True` (its
    own; a subclass may do something else), and no other code gets to see a tensor: no hook, no class of a user's, whose
    `view`, `stride` or `is_contiguous` depend on the format. Nor may it change the images that it is given.
    """
    modules = list(model.modules())
    return all(map(is_known, modules)) and not _changes_its_input(modules)


def is_altered(module: nn.Module) -> bool:
    """Whether calling this very module does something else than its class says."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)


def is_known(module: nn.Module) -> bool:
    """Return whether `module` is one of torch's usual layers, or of those that say so, and does what its class says."""
    kind = type(module)
    return (kind in _KNOWN or vars(kind).get("any_memory_format") is True) and not is_altered(module)


def _changes_its_input(modules: Sequence[nn.Module]) -> bool:
    """Whether something in place comes before the first layer with parameters, whose output is a new tensor."""
    for module in modules:
        if getattr(module, "inplace", False):
            return True
        if any(True for _ in module.parameters(recurse=False)):
            return False
    return False


class Chain:
    """Operations that work in channels-last memory, between code that is to see what torch itself would give it.

    Their output has the format that torch's layers would hand on: that of the images, unless a convolution's weight is
    channels-last; and the images' gradient the one that they would give it, where the first convolution counts.

    Args:
        items: are called one after the other.
        weights: the weights of all convolutions among them, in their order.
        dtype: in which images get in.
    """

    def __init__(
        self, items: Sequence[Callable[[Tensor], Tensor]], weights: Sequence[Tensor], dtype: torch.dtype
    ) -> None:
        self.items = tuple(items)
        self._weights = tuple(weights)
        self._dtype = dtype

    def __call__(self, images: Tensor) -> Tensor:
        """Map images to the last item's output; what is not [N, C, H, W] on a CPU is left to the items."""
        if images.dim() != 4 or not images.is_cpu:
            return self._called(images)
        last, *weights_last = map(_is_channels_last, (images, *self._weights))
        output = self._called(_Entrance.apply(images, self._dtype, last or any(weights_last[:1])))
        return in_format(output, last=last or any(weights_last))

    def _called(self, images: Tensor) -> Tensor:
        for item in self.items:
            images = item(images)
        return images


class _Entrance(torch.autograd.Function):
    """Changes images to channels-last memory and another type, and their gradient to their type and `last` or not."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, dtype: torch.dtype, last: bool) -> Tensor:
        ctx.last, ctx.dtype = last, images.dtype
        return images.to(dtype, memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return in_format(gradient.to(ctx.dtype), last=ctx.last), None, None


def in_format(images: Tensor, *, last: bool) -> Tensor:
    """Return `images` in channels-last memory or with exactly the strides of a new tensor of their shape.

    `Tensor.contiguous` alone leaves strides as they are where several will do: one channel, images of 1×1.
    """
    if last:
        return images.contiguous(memory_format=torch.channels_last)
    if images.stride() == torch.empty(images.shape, device="meta").stride():
        return images
    return images.clone(memory_format=torch.contiguous_format)


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
