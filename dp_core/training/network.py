"""The form in which a model is executed: plain, with fused blocks, or compiled; in float32 or bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dp_core.kernels import Twins, fused, has_skipping, keep_freed_memory, takes_any_format, unfused_norms
from dp_core.training.precision import uses_bfloat16
from dp_core.training.recipe import Mode, Precision

Stance = Literal["default", "fail_on_recompile", "eager_on_recompile"]


class Network:
    """A model ready to be executed on the device it is on; it shares the model's parameters and buffers.

    Whatever the mode, code of a user's meets the memory formats that it would meet in plain torch, and images that
    it may change: where `takes_any_format` does not say that there is none, images and weights stay as they are.

    Attributes:
        mode: `eager`, the model as it is; `fused`, with the blocks of `dp_core.kernels` (CPU only); `compiled`, by
            torch.compile. What was asked for, or `eager` where that cannot be had; `auto` is `fused` if possible.
        bfloat16: whether it computes in bfloat16 autocast.
        executed: the module that is executed: the model itself, or what stands for it.
        stance: what a compiled network does where there is no code yet (another shape, evaluation): compile, raise, or
            execute the model as it is. Trainings get the last from `dp_core.training.compiling`, so that nothing is
            compiled in the middle of them.
    """

    def __init__(self, model: nn.Module, *, mode: Mode = "auto", precision: Precision = "auto") -> None:
        self._device = next(model.parameters()).device
        self._any_format = takes_any_format(model)
        skipping = self._device.type == "cpu" and has_skipping(model)
        self._contiguous = skipping or not self._any_format  # but within fused blocks
        self.executed = model
        self.mode: Literal["eager", "fused", "compiled"] = "eager"
        self.stance: Stance = "default"
        if self._device.type == "cpu":
            keep_freed_memory()
        if mode == "compiled":
            # The compiler chooses channels-last memory on CPUs.
            options: dict[str, Any] | None = {"layout_optimization": False} if skipping else None
            self.executed = torch.compile(model, dynamic=False, options=options)  # type: ignore[assignment]
            self.mode = "compiled"
        elif mode != "eager" and self._device.type == "cpu":
            self._fuse(model, precision)
        unfit = (self.mode != "compiled" and unfused_norms(self.executed) > 0) or _has_bilinear_layers(model)
        self.bfloat16 = uses_bfloat16(precision, self._device, unfit=unfit)
        self._is_fused = self.executed is not model and mode != "compiled"
        own_copy = self._is_fused and not self._any_format
        self._twins: AbstractContextManager[None] = Twins(model, self.executed) if own_copy else nullcontext()
        if not self._contiguous and (self.bfloat16 or self._is_fused):
            _in_channels_last(model)

    def _fuse(self, model: nn.Module, precision: Precision) -> None:
        for dtype in (torch.bfloat16, torch.float32):
            executed = fused(model, dtype)
            if executed is None:
                return
            unfit = unfused_norms(executed) > 0 or _has_bilinear_layers(model)
            if uses_bfloat16(precision, self._device, unfit=unfit) == (dtype is torch.bfloat16):
                self.executed, self.mode = executed, "fused"
                return

    def train(self, mode: bool = True) -> None:
        """Set training or evaluation mode, of the model and of what stands for it."""
        self.executed.train(mode)

    def __call__(self, images: Tensor) -> Tensor:
        """Map float32 images [N, C, H, W] in the network's space to logits, float32 [N, classes]."""
        if not self._any_format:
            images = images.clone(memory_format=torch.contiguous_format)
        elif self.bfloat16 and not (self._is_fused or self._contiguous):
            # Fused blocks change type and format in one go.
            images = images.contiguous(memory_format=torch.channels_last)
        stance = torch.compiler.set_stance(self.stance) if self.mode == "compiled" else nullcontext()
        with stance, self._twins, torch.autocast(self._device.type, torch.bfloat16, enabled=self.bfloat16):
            logits: Tensor = self.executed(images)
        return logits.float()


def _has_bilinear_layers(model: nn.Module) -> bool:
    """Whether there are some: on a CPU torch's autocast does not know them, so that they fail in bfloat16."""
    return any(isinstance(module, nn.Bilinear) for module in model.modules())


def _in_channels_last(model: nn.Module) -> None:
    """Change the memory of the convolutions' weights; `model.to` would replace buffers, which are shared."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


@contextmanager
def unchanged_buffers(model: nn.Module) -> Iterator[None]:
    """Put the model's buffers (running statistics) back in the end: for passes that are only to find something out."""
    saved = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in saved:
                buffer.copy_(value)
