"""Convolution, norm, activation and pooling as one differentiable operation with the kernels of block.cpp."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dp_core.kernels.build import block_library
from dp_core.kernels.pointwise import seen, spread


class Norm(IntEnum):
    """What the statistics are taken over; see `enum Norm` in block.cpp."""

    NONE = 0
    GROUPS = 1  # group norm: an image's channels, group by group
    BATCH = 2  # batch norm in training
    ELEMENTWISE = 3  # layer norm over [C, H, W], with a weight per element
    FIXED = 4  # batch norm in evaluation: mean and variance are given


class Pool(IntEnum):
    """2×2 pooling with stride 2; see `enum Pool` in block.cpp."""

    WHOLE = 0
    MAX = 1
    AVERAGE = 2


@dataclass(frozen=True)
class Convolution:
    """Stride, padding, dilation and groups of a convolution, and which of the images' pixels it is given.

    `every` is 1 but for a convolution of 1×1 that skips pixels, which has it in place of its stride; see pointwise.py.
    """

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int
    every: Sequence[int] = (1, 1)


@dataclass(frozen=True)
class BlockSettings:
    """What a block does but for its parameters.

    `slope` is the activation's on the negative side (1: no activation, 0: ReLU), unless it is a `sigmoid`; `groups` is
    the number of norm groups of an image's channels.
    """

    convolution: Convolution | None
    norm: Norm = Norm.NONE
    groups: int = 1
    eps: float = 1e-5
    slope: float = 1.0
    sigmoid: bool = False
    pool: Pool = Pool.WHOLE


class _Call(ctypes.Structure):
    """`struct Call` of block.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "height", "width", "channels")),
        *((name, ctypes.c_int32) for name in ("bfloat16", "norm", "groups", "pool", "sigmoid", "threads")),
        *((name, ctypes.c_float) for name in ("slope", "eps")),
        *((name, ctypes.c_void_p) for name in ("input", "output", "gamma", "beta", "mean", "rstd", "variance")),
        *((name, ctypes.c_void_p) for name in ("output_gradient", "input_gradient", "sums")),
        *((name, ctypes.c_void_p) for name in ("gamma_gradient", "beta_gradient", "bias_gradient", "elements")),
    )


def block(
    images: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    statistics: tuple[Tensor, Tensor] | None,
    settings: BlockSettings,
) -> tuple[Tensor, Tensor | None]:
    """Compute pool(activation(norm(convolution(images)))).

    Args:
        images: float32 or bfloat16 [N, C, H, W] in channels-last memory; everything is computed in this format, with
            norm statistics and gradients of the parameters in float32.
        weight: float32 weight of the convolution; None if there is none.
        bias: its bias, or None.
        gamma: the norm's weight, float32 [C]; [C, H, W] for ELEMENTWISE; None for ones.
        beta: the norm's bias, likewise; None for zeros.
        statistics: for FIXED, mean and variance, float32 [C].
        settings: the rest.

    Returns:
        The output and, for BATCH, mean and unbiased variance of the batch, float32 [2, C].

    Raises:
        ValueError: the norm is not one of as many channels (or elements) as there are, or the image is too small to
            be pooled, or a batch norm has one value a channel only.

    The backward pass may run once: the convolution's output is overwritten by its gradient. Gradients of gradients
    are not supported.
    """
    output, batch = _Block.apply(images, weight, bias, gamma, beta, statistics, settings)
    return output, batch


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        statistics: tuple[Tensor, Tensor] | None,
        settings: BlockSettings,
    ) -> tuple[Tensor, Tensor | None]:
        cast = None
        ctx.shape, ctx.weight_channels = images.shape, 0 if weight is None else weight.shape[1]
        inner = images
        if weight is not None:
            assert settings.convolution is not None
            if max(settings.convolution.every) > 1:
                images = seen(images, settings.convolution.every).contiguous(memory_format=torch.channels_last)
            cast = weight.to(images.dtype, memory_format=torch.channels_last)
            if _is_grey(weight, settings.convolution):
                images, cast = _padded(images), _padded(cast)
            own = None if bias is None else bias.to(images.dtype)
            how = settings.convolution
            with torch.autocast("cpu", enabled=False):
                inner = F.conv2d(images, cast, own, how.stride, how.padding, how.dilation, how.groups)
        inner = inner.contiguous(memory_format=torch.channels_last)
        _check(inner, gamma, beta, statistics, settings)
        count, channels, height, width = inner.shape
        if settings.pool is not Pool.WHOLE:
            height, width = height // 2, width // 2
        shape = count, channels, height, width
        output = torch.empty(shape, dtype=inner.dtype, memory_format=torch.channels_last)
        mean, rstd, batch = _statistics(inner, statistics, settings)
        affine = _affine(gamma, beta, settings)
        call = _call(inner, mean, rstd, affine, settings)
        call.output = output.data_ptr()
        call.variance = None if batch is None else batch[1].data_ptr()
        library = block_library()
        assert library is not None
        library.winnow_block_forward(ctypes.byref(call))
        if batch is not None:
            batch[1] *= inner.numel() / max(inner.numel() - len(batch[1]), 1)  # from biased to unbiased
        ctx.save_for_backward(images, cast, inner, mean, rstd, *affine)
        ctx.settings, ctx.has_bias, ctx.used = settings, bias is not None, False
        if batch is not None:
            ctx.mark_non_differentiable(batch)
        return output, batch

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        if ctx.used:
            raise RuntimeError("A fused block's backward pass can run only once.")
        ctx.used = True
        images, weight, inner, mean, rstd, gamma, beta = ctx.saved_tensors
        settings: BlockSettings = ctx.settings
        gradient = gradient.to(inner.dtype).contiguous(memory_format=torch.channels_last)
        count, channels, height, width = inner.shape
        # Without a convolution the input is somebody else's, with one it is ours and no longer needed.
        inner_gradient = torch.empty_like(inner) if weight is None else inner
        sums = torch.empty(3, count, channels)
        parameters = torch.empty(3, channels)  # gradients of beta, gamma and the convolution's bias
        call = _call(inner, mean, rstd, (gamma, beta), settings)
        call.output_gradient, call.input_gradient = gradient.data_ptr(), inner_gradient.data_ptr()
        call.sums, call.bias_gradient = sums.data_ptr(), parameters[2].data_ptr()
        gamma_gradient = beta_gradient = elements = None
        if gamma is not None:
            if settings.norm is Norm.ELEMENTWISE:
                gamma_gradient, beta_gradient = torch.zeros(2, height, width, channels)
                elements = torch.zeros(call.threads, 2, height, width, channels)
                call.elements = elements.data_ptr()
            else:
                beta_gradient, gamma_gradient = parameters[0], parameters[1]
            call.gamma_gradient, call.beta_gradient = gamma_gradient.data_ptr(), beta_gradient.data_ptr()
        library = block_library()
        assert library is not None
        library.winnow_block_backward(ctypes.byref(call))
        if elements is not None and gamma_gradient is not None and beta_gradient is not None:
            gamma_gradient, beta_gradient = gamma_gradient.permute(2, 0, 1), beta_gradient.permute(2, 0, 1)
        gamma_gradient = gamma_gradient if ctx.needs_input_grad[3] else None
        beta_gradient = beta_gradient if ctx.needs_input_grad[4] else None
        if weight is None:
            return inner_gradient, None, None, gamma_gradient, beta_gradient, None, None
        how = settings.convolution
        assert how is not None
        needed = [*ctx.needs_input_grad[:2], False]
        geometry = how.stride, how.padding, how.dilation, False, [0, 0], how.groups
        images_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
            inner_gradient, images, weight, None, *geometry, needed
        )
        if weight_gradient is not None:
            weight_gradient = weight_gradient[:, : ctx.weight_channels].float()
        if images_gradient is not None:
            images_gradient = images_gradient[:, : ctx.shape[1]]
            if max(how.every) > 1:
                images_gradient = spread(images_gradient, ctx.shape, how.every)
        bias_gradient = parameters[2] if ctx.has_bias else None
        return images_gradient, weight_gradient, bias_gradient, gamma_gradient, beta_gradient, None, None


def _is_grey(weight: Tensor, how: Convolution) -> bool:
    """Whether the input has one channel, for which channels-last memory is ambiguous and torch takes a slow path."""
    return weight.shape[1] == 1 and how.groups == 1


def _padded(tensor: Tensor) -> Tensor:
    """Return `tensor` [N, 1, H, W] with three channels of zeros more."""
    return F.pad(tensor, (0, 0, 0, 0, 0, 3)).contiguous(memory_format=torch.channels_last)


def _check(
    inner: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    statistics: tuple[Tensor, Tensor] | None,
    settings: BlockSettings,
) -> None:
    """The kernels trust what they are told, so everything that they index is checked here."""
    count, channels, height, width = inner.shape
    norm, shape = settings.norm, torch.Size([channels])
    affine = [tensor for tensor in (gamma, beta) if tensor is not None]
    affine_shape = inner.shape[1:] if norm is Norm.ELEMENTWISE else shape
    fine = (
        inner.dtype in (torch.float32, torch.bfloat16)
        and channels % settings.groups == 0
        and all(tensor.shape == affine_shape and tensor.dtype == torch.float32 for tensor in affine)
        and all(tensor.shape == shape and tensor.dtype == torch.float32 for tensor in statistics or ())
        and (norm is Norm.FIXED) == (statistics is not None)
        and not (norm is Norm.NONE and affine)
    )
    if not fine:
        raise ValueError(
            f"A norm ({norm.name}, groups: {settings.groups}) and its weights do not fit {tuple(inner.shape)}."
        )
    if settings.pool is not Pool.WHOLE and min(height, width) < 2:
        raise ValueError(f"Images of {height}×{width} are too small for 2×2 pooling.")
    if norm is Norm.BATCH and count * height * width == 1:
        raise ValueError("A batch norm in training needs more than one value a channel.")


def _statistics(
    inner: Tensor, given: tuple[Tensor, Tensor] | None, settings: BlockSettings
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return room for mean and 1/σ, and for BATCH also for mean and variance as the norm's buffers want them."""
    count, channels = inner.shape[:2]
    if settings.norm is Norm.NONE:
        return None, None, None
    if settings.norm is Norm.FIXED:
        assert given is not None
        return given[0].clone(memory_format=torch.contiguous_format), (given[1] + settings.eps).rsqrt(), None
    if settings.norm is Norm.BATCH:
        batch = torch.empty(2, channels)
        return batch[0], torch.empty(channels), batch
    return torch.empty(count, channels), torch.empty(count, channels), None


def _affine(gamma: Tensor | None, beta: Tensor | None, settings: BlockSettings) -> tuple[Tensor | None, Tensor | None]:
    """Return both or neither of the norm's weight and bias, in the order of the images' memory."""
    if gamma is None and beta is None:
        return None, None
    gamma = torch.ones_like(beta) if gamma is None else gamma.detach()  # type: ignore[arg-type]
    beta = torch.zeros_like(gamma) if beta is None else beta.detach()
    if settings.norm is Norm.ELEMENTWISE:
        gamma, beta = gamma.permute(1, 2, 0), beta.permute(1, 2, 0)
    return gamma.contiguous(), beta.contiguous()


def _call(
    inner: Tensor,
    mean: Tensor | None,
    rstd: Tensor | None,
    affine: tuple[Tensor | None, Tensor | None],
    settings: BlockSettings,
) -> _Call:
    count, channels, height, width = inner.shape
    call = _Call()
    call.images, call.height, call.width, call.channels = count, height, width, channels
    call.bfloat16, call.norm, call.groups = inner.dtype == torch.bfloat16, settings.norm, settings.groups
    call.pool, call.sigmoid, call.threads = settings.pool, settings.sigmoid, torch.get_num_threads()
    call.slope, call.eps = settings.slope, settings.eps
    call.input = inner.data_ptr()
    for name, tensor in (("gamma", affine[0]), ("beta", affine[1]), ("mean", mean), ("rstd", rstd)):
        setattr(call, name, None if tensor is None else tensor.data_ptr())
    return call
