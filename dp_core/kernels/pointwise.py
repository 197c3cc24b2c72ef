"""Convolutions of 1×1 that skip pixels, such as a ResNet's shortcuts, on few channels.

oneDNN (torch 2.14) is not to see them in channels-last memory. Where the input has fewer channels than a vector has
numbers, it computes the gradient of their weight from a copy of the pixels seen, and writes beyond the copy's end: into
other threads' copies, which gives wrong gradients, and out of its memory, which ends the process sooner or later. That
was seen in float32 with AVX2 and fewer than 8 channels; a vector of AVX-512 has 16 numbers. A convolution of stride 1
on the pixels seen is the same, and safe.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.kernels.formats import is_altered

_NUMBERS = 16  # of float32 in the longest vector


def skips_pixels(module: nn.Module) -> bool:
    """Return whether `module` is one of the convolutions that this file is about."""
    if not isinstance(module, nn.Conv2d) or module.weight.shape[1] >= _NUMBERS:
        return False
    padded = module.padding != "valid" and any(map(bool, module.padding))
    return module.kernel_size == (1, 1) and max(module.stride) > 1 and not padded


def has_skipping(model: nn.Module) -> bool:
    """Return whether one of the model's convolutions skips pixels."""
    return any(map(skips_pixels, model.modules()))


def without_skipping(model: nn.Module) -> None:
    """Let the model's convolutions that skip pixels be of stride 1 on those that they see; in place."""
    for module in model.modules():
        if type(module) is nn.Conv2d and skips_pixels(module) and not is_altered(module):
            module.__class__ = _OnSeenPixels


def seen(images: Tensor, stride: Sequence[int]) -> Tensor:
    """Return the pixels of [..., H, W] that a convolution of 1×1 sees, [..., ⌈H / stride⌉, ⌈W / stride⌉]; a view."""
    return images[..., :: stride[0], :: stride[1]]


def spread(gradient: Tensor, shape: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Return the gradient of all pixels, [N, C, H, W] of `shape` in channels-last memory, given that of those seen."""
    whole = torch.empty(tuple(shape), dtype=gradient.dtype, memory_format=torch.channels_last).zero_()
    seen(whole, stride).copy_(gradient)
    return whole


class _OnSeenPixels(nn.Conv2d):
    """A convolution of 1×1 that computes what a Conv2d does with its stride."""

    any_memory_format = True

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(seen(images, self.stride), self.weight, self.bias, groups=self.groups)
