"""What criteria that look at gradients share: a copy of the network, exact arithmetic, and the loss."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from dp_core.errors import UserError
from dp_core.pruning.criteria.selection import parameters_in_scope
from dp_core.pruning.mask import Mask


def masked_copy(
    model: nn.Module, mask: Mask, dtype: torch.dtype | None = None
) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """Return a copy of `model` with the mask applied, and its parameters in scope, the only ones with gradients.

    Whatever is done to the copy (buffers that batch norm updates, modes, hooks) leaves `model` as it was.

    Args:
        model: the network, on its device.
        mask: names the parameters in scope.
        dtype: what to compute in; by default the weights' own, or float32 if that is wider and none is complex.
    """
    scope = parameters_in_scope(model, mask)
    own = next(iter(scope.values())).dtype
    copied = copy.deepcopy(model)
    if dtype is not None or not any(parameter.is_complex() for parameter in model.parameters()):
        copied = copied.to(dtype or torch.promote_types(own, torch.float32))
    copied.requires_grad_(False)
    mask.apply_(copied)
    weights = parameters_in_scope(copied, mask)
    for weight in weights.values():
        weight.requires_grad_()
    return copied, weights


@contextmanager
def exact_arithmetic(weights: Mapping[str, nn.Parameter], generator: torch.Generator) -> Iterator[None]:
    """Compute with gradients, without autocast, cuDNN's TF32, or fused attention, which has no second derivative.

    What a network draws (dropout) follows from `generator`; torch's own generators are put back afterwards.
    """
    device = next(iter(weights.values())).device
    with (
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        sdpa_kernel(SDPBackend.MATH),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield


def training_loss(model: nn.Module, batch: tuple[Tensor, Tensor], *, temperature: float = 1.0) -> Tensor:
    """Return the mean cross-entropy of logits / temperature, in training mode: with the statistics of this batch.

    Args:
        model: what `masked_copy` returned; its buffers and modes change.
        batch: images float [n, C, H, W]; labels int64 [n] or float [n, classes] that sum to 1.
        temperature: what logits are divided by.
    """
    images, labels = batch
    dtype = next(model.parameters()).real.dtype
    logits = model.train()(images.to(dtype, copy=True))  # which a user's code may change
    return F.cross_entropy(logits / temperature, labels.to(dtype) if labels.is_floating_point() else labels)


def finite(scores: Mapping[str, Tensor], criterion: str) -> Mapping[str, Tensor]:
    """Return `scores`; raise UserError if one is NaN or infinite, because then there is no order among them."""
    for name, score in scores.items():
        if not torch.isfinite(score).all():
            raise UserError(
                f"The {criterion} scores of {name} are not finite: the weights or the images are too large."
            )
    return scores
