"""What a network multiplies with what, seen in one forward pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import _disable_current_modes

from dp_core.errors import UserError
from dp_core.models.checking import left_as_it_was
from dp_core.models.tracing import FusedAttention, Products, Trace

_RECORD = "_products"  # an attribute, so that copies have it


def observe(model: nn.Module, input_shape: tuple[int, int, int]) -> Products:
    """Return what `model` multiplies in a forward pass of one image of zeros; everything is left as it was.

    A weight is a parameter of two or more dimensions that enters a matrix product or a convolution with activations:
    as it is, or viewed, cast, cut and put together. A bilinear layer uses each weight once for each pair of vectors,
    a recurrent one once for each time step.

    A network that takes no single image is given two, and half of what it multiplies is returned.

    Args:
        model: a copy without memory is run forward once, in evaluation mode; or itself where that cannot be.
        input_shape: channels, height, width of one image.

    Raises:
        UserError: a weight is computed from parameters before it meets activations, so that zeros in these would not
            be zeros in it.
        Exception: whatever a user's own network raises in its forward pass.
    """
    # A user's network may need the numbers, which a tensor without memory does not have, or several images.
    for made, images in ((_without_memory, 1), (_copied, 1), (_copied, 2)):
        try:
            return _traced(made(model), input_shape, images)
        except UserError:
            raise
        except Exception as error:  # a user's module may raise anything
            failure = error
    raise failure


def _copied(model: nn.Module) -> nn.Module:
    """Return a copy, since a forward pass may change more than buffers; or the model itself if it has none."""
    try:
        return copy.deepcopy(model)
    except Exception:  # whatever a user's module may raise
        return model


def _without_memory(model: nn.Module) -> nn.Module:
    """Return a copy of `model` on torch's meta device, where a pass costs next to nothing, or itself if it is there."""
    if all(parameter.is_meta for parameter in model.parameters()):
        return model
    made: dict[int, Any] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        empty = torch.empty_like(tensor, device="meta")
        made[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(model, made)


def _traced(model: nn.Module, input_shape: tuple[int, int, int], count: int) -> Products:
    trace = Trace(model)
    images = next(model.parameters(), torch.empty(0)).real.new_zeros(count, *input_shape)
    with (
        left_as_it_was(model),
        torch.random.fork_rng(devices=[images.get_device()] if images.is_cuda else []),
        torch.no_grad(),
        layer_by_layer(),
        _disable_current_modes(),  # who builds a network under a counter of theirs does not count this pass
        sdpa_kernel(SDPBackend.MATH),
        trace,
        FusedAttention(trace),
    ):
        model.eval()(images)
    return trace.products(count)


@contextmanager
def layer_by_layer() -> Iterator[None]:
    """Keep torch from computing a whole transformer block in one kernel, which calls none of its modules."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def record_products(model: nn.Module, input_shape: tuple[int, int, int], label: str) -> None:
    """Observe `model`, which is called `label`, and let it and its copies say so from now on, see `recorded_products`.

    Nothing is recorded of a network that does not take such images: who gives it some is told (`check_forward`).
    """
    try:
        vars(model)[_RECORD] = observe(model, input_shape)
    except UserError as error:  # which matters to who prunes it
        vars(model)[_RECORD] = f"The model '{label}' cannot be pruned: {error}"
    except Exception:  # a user's model may raise anything
        return


def recorded_products(model: nn.Module) -> Products | None:
    """Return what `record_products` saw; None for a network that was not built by `build`, or that failed.

    Raises:
        UserError: it has a weight that is computed from parameters, see `observe`.
    """
    record: Products | str | None = vars(model).get(_RECORD)
    if isinstance(record, str):
        raise UserError(record)
    return record
