"""Functions of second derivatives as compiled code, with the convolutions in bfloat16.

torch.func writes a second derivative as one graph of plain operations. Traced, it is an ordinary function without
autograd, in which

- gradients that nobody uses are not computed (autograd's convolution gives all of its gradients or none),
- convolutions, where the device has units for bfloat16, take and give bfloat16, while everything between them stays in
  float32, and
- everything between two convolutions becomes one pass over memory (torch's compiler).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from dp_core.training.inductor import compiler_settings, quiet_torch
from dp_core.training.precision import uses_bfloat16

_CONVOLUTION = torch.ops.aten.convolution.default
_BACKWARD = torch.ops.aten.convolution_backward.default
_CONVERT = torch.ops.prims.convert_element_type.default


class NotLowered(Exception):
    """There is no compiler here, or it cannot do this function."""


def lowered(function: Callable[..., Sequence[Tensor]], arguments: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """Return compiled code for `function`, for arguments of the shapes, formats and layouts of `arguments`.

    Args:
        function: maps tensors to tensors by torch operations, without side effects; torch.func transforms inside.
        arguments: examples, on the device that the code is for.

    Raises:
        NotLowered: it cannot be traced or compiled.
    """
    import torch._inductor.lowering  # first of all: tracing max pooling needs what it registers
    from torch._inductor import compile as compile_graph
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    device = arguments[0].device
    try:
        with quiet_torch(), compiler_settings(), torch.no_grad():
            traced = make_fx(function, decomposition_table=select_decomp_table(), tracing_mode="fake")(*arguments)
            drop_unused_gradients(traced)
            if uses_bfloat16("auto", device, unfit=False):
                convolve_in_bfloat16(traced)
            compiled: Callable[..., Sequence[Tensor]] = compile_graph(traced, list(arguments))
            compiled(*arguments)
    except Exception as error:  # whatever tracing or the compiler may raise
        raise NotLowered(str(error)) from error
    return compiled


def drop_unused_gradients(traced: fx.GraphModule) -> None:
    """Let each backward pass of a convolution compute only those of its three gradients that are used; in place."""
    traced.graph.eliminate_dead_code()
    for node in traced.graph.nodes:
        if node.target is _BACKWARD:
            used = {user.args[1] for user in node.users if user.target is operator.getitem and user.users}
            mask = [wanted and index in used for index, wanted in enumerate(node.args[-1])]
            node.update_arg(len(node.args) - 1, mask)
    traced.graph.eliminate_dead_code()
    traced.recompile()


def convolve_in_bfloat16(traced: fx.GraphModule) -> None:
    """Put casts to bfloat16 before every convolution and backward pass of one, to float32 after it; in place."""
    graph = traced.graph

    def cast(value: Any, dtype: torch.dtype) -> fx.Node:
        return graph.call_function(_CONVERT, (value, dtype))

    for node in list(graph.nodes):
        if node.target not in (_CONVOLUTION, _BACKWARD):
            continue
        with graph.inserting_before(node):
            for index in range(3):  # input, weight and bias; or gradient of the output, input and weight
                if node.args[index] is not None:
                    node.update_arg(index, cast(node.args[index], torch.bfloat16))
        for result in [node] if node.target is _CONVOLUTION else list(node.users):
            with graph.inserting_after(result):
                back = cast(result, torch.float32)
            result.replace_all_uses_with(back, delete_user_cb=lambda user, back=back: user is not back)
    graph.eliminate_dead_code()
    traced.recompile()
