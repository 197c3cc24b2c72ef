"""Following parameters through one forward pass, to see which of them multiply activations, and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dp_core.errors import UserError
from dp_core.models.weights import layer_weights

_ATEN = torch.ops.aten

# Where the factors of a product stand among the arguments.
_FACTORS: Mapping[Any, tuple[int, ...]] = {
    _ATEN.mm: (0, 1),
    _ATEN.bmm: (0, 1),
    _ATEN.mv: (0, 1),
    _ATEN.addmm: (1, 2),
    _ATEN.baddbmm: (1, 2),
    _ATEN.addmv: (1, 2),
    _ATEN.convolution: (0, 1),
    _ATEN._trilinear: (0, 1, 2),
}
# Kernels for whole layers of recurrent networks, with the weights among their arguments.
_RECURRENT = (_ATEN.mkldnn_rnn_layer, _ATEN._cudnn_rnn, _ATEN.miopen_rnn)
# What only moves numbers: of a weight it makes the same weight, or a part of it.
_MOVING = {
    *(_ATEN.view, _ATEN._unsafe_view, _ATEN._reshape_alias, _ATEN.t, _ATEN.transpose, _ATEN.permute, _ATEN.expand),
    *(_ATEN.squeeze, _ATEN.unsqueeze, _ATEN.select, _ATEN.slice, _ATEN.split, _ATEN.split_with_sizes, _ATEN.unbind),
    *(_ATEN.unsafe_split, _ATEN.unsafe_split_with_sizes, _ATEN.alias, _ATEN.detach, _ATEN.clone, _ATEN._to_copy),
    *(_ATEN.flip, _ATEN.cat, _ATEN.stack, _ATEN.repeat),
}
_REPEATING = {_ATEN.cat, _ATEN.stack, _ATEN.repeat}
# What is made from nothing, whatever tensor says of which shape or type.
_MAKING = {
    *(_ATEN.new_zeros, _ATEN.new_ones, _ATEN.new_full, _ATEN.new_empty),
    *(_ATEN.zeros_like, _ATEN.ones_like, _ATEN.full_like, _ATEN.empty_like),
}
# Their shapes are those of their inputs, and without memory they are what takes most of a forward pass's time.
_NORMS = {_ATEN.native_batch_norm, _ATEN.native_group_norm, _ATEN.native_layer_norm}
_ACTIVATIONS = {_ATEN.relu, _ATEN.leaky_relu, _ATEN.gelu, _ATEN.silu, _ATEN.sigmoid, _ATEN.tanh}


@dataclass(frozen=True)
class Products:
    """The products of one forward pass of one image.

    Attributes:
        uses: for each weight matrix or kernel how often each of its entries is multiplied with an activation: one
            number, or where its parts differ one for each entry, int64 of the parameter's shape.
        other_flops: floating-point operations of all products without a weight, such as attention's scores where a
            network multiplies them itself: two for each multiply-accumulate. Those inside
            `F.scaled_dot_product_attention` are not counted, as torch's own counter does not see them on a CPU.
    """

    uses: Mapping[str, int | Tensor]
    other_flops: int


@dataclass(frozen=True)
class _Copy:
    """A tensor that holds entries of weights: `names` of the parameters, and which entries, counted over all."""

    names: tuple[str, ...]
    entries: Callable[[], Tensor]
    whole: bool  # every entry of one parameter, once


class Trace(TorchDispatchMode):
    """Follows parameters through a forward pass.

    Tensors are one of: a copy of weights; computed from parameters; constant (buffers, what the pass makes from
    nothing); all others are activations.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parameters = {name: p for name, p in model.named_parameters() if p.dim() > 1}
        self._in_layers = layer_weights(model).keys()
        self._starts: dict[str, int] = {}
        self._copies: dict[int, _Copy] = {}
        self._computed: dict[int, str] = {}
        self._constants: dict[int, Any] = {}
        self._written: dict[int, str] = {}  # constants that parameters were written into, by their memory
        self._alive: list[Tensor] = []  # whose identity is looked up
        self._uses: dict[str, int] = dict.fromkeys(self._in_layers, 0)
        self._uses_of_parts: dict[str, Tensor] = {}
        self._other_flops = 0
        self.in_fused_attention = False
        start = 0
        for name, parameter in self._parameters.items():
            self._starts[name] = start
            self._copies[id(parameter)] = _Copy((name,), self._all_entries(name), True)
            start += parameter.numel()
        for tensor in [*model.buffers(), *(p for p in model.parameters() if p.dim() < 2)]:
            self._be_constant(tensor)

    def products(self, images: int = 1) -> Products:
        """Return what was seen, for one of so many images."""
        parts = {name: (counts + self._uses.get(name, 0)) // images for name, counts in self._uses_of_parts.items()}
        whole = {name: times // images for name, times in self._uses.items()}
        return Products({**whole, **parts}, self._other_flops // images)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, operation = kwargs or {}, func.overloadpacket
        if operation in _NORMS and args[0].is_meta:
            result: Any = (torch.empty_like(args[0]), None, None)
        elif operation in _ACTIVATIONS and args[0].is_meta:
            result = torch.empty_like(args[0])
        else:
            result = func(*args, **kwargs)
        inputs = _tensors([*args, *kwargs.values()])
        outputs = _tensors(result if isinstance(result, Sequence) else [result])
        if operation in _RECURRENT:
            self._recur(inputs)
        elif operation in _FACTORS or operation in flop_registry:
            self._multiply(operation, args, kwargs, result, inputs, outputs)
        elif operation in _MAKING:
            self._inherit([], outputs)
        elif self._is_moved(operation, inputs) and all(id(tensor) in self._copies for tensor in inputs):
            self._move(func, args, kwargs, inputs, outputs)
        else:
            self._inherit(inputs, outputs, in_place=func._schema.is_mutable)
        return result

    def _is_moved(self, operation: Any, inputs: list[Tensor]) -> bool:
        # Torch's attention scales keys by a number before it multiplies with them: what is zero stays zero.
        scaled = self.in_fused_attention and operation is _ATEN.mul and len(inputs) == 1
        return operation in _MOVING or scaled

    def _recur(self, inputs: list[Tensor]) -> None:
        steps = inputs[0].numel() // inputs[0].shape[-1]
        for tensor in inputs[1:]:
            if id(tensor) in self._copies:
                self._count(self._copies[id(tensor)], steps)

    def _multiply(
        self, operation: Any, args: Any, kwargs: Any, result: Any, inputs: list[Tensor], outputs: list[Tensor]
    ) -> None:
        factors = [args[place] for place in _FACTORS[operation]] if operation in _FACTORS else inputs
        copies = [tensor for tensor in factors if id(tensor) in self._copies]
        in_layers = [tensor for tensor in copies if self._in_layers >= set(self._copies[id(tensor)].names)]
        computed = [name for tensor in factors if (name := self._computed_from(tensor)) is not None]
        met = len(copies) + len(computed) < len(factors)  # an activation or a constant
        flops = _flops(operation, args, kwargs, result, factors)
        if computed and met and any(self._is_activation(tensor) for tensor in factors):
            raise _computed_weight(computed[0])
        weights = copies if met else in_layers
        for tensor in weights:
            self._count(self._copies[id(tensor)], flops // (2 * tensor.numel()))
        self._other_flops += 0 if weights or self.in_fused_attention else flops
        if in_layers or any(self._is_activation(tensor) for tensor in factors):
            self._be_activations(outputs)  # a layer's output is one whatever goes in, such as learned queries
        else:
            self._inherit(inputs, outputs)

    def _count(self, copy: _Copy, times: int) -> None:
        if copy.whole:
            self._uses[copy.names[0]] = self._uses.get(copy.names[0], 0) + times
            return
        entries = copy.entries().flatten()
        for name in copy.names:
            parameter = self._parameters[name]
            counts = self._uses_of_parts.setdefault(name, torch.zeros(parameter.shape, dtype=torch.int64, device="cpu"))
            own = entries - self._starts[name]
            own = own[(own >= 0) & (own < parameter.numel())]
            counts.view(-1).index_add_(0, own, torch.full_like(own, times))

    def _move(self, func: Any, args: Any, kwargs: Any, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        copies = [self._copies[id(tensor)] for tensor in inputs]
        names = tuple(dict.fromkeys(name for copy in copies for name in copy.names))
        whole = copies[0].whole and func.overloadpacket not in _REPEATING
        for place, output in enumerate(outputs):
            entries = _moved(func, args, kwargs, self._copies, place)
            same = whole and output.numel() == inputs[0].numel()
            self._copies[id(output)] = _Copy(names, entries, same)
            self._computed.pop(id(output), None)
        self._alive += outputs

    def _inherit(self, inputs: list[Tensor], outputs: list[Tensor], *, in_place: bool = False) -> None:
        """Say what is made of inputs: activations if one is, else computed from parameters if one is, else constant."""
        if any(self._is_activation(tensor) for tensor in inputs):
            self._be_activations(outputs, in_place=in_place)
            return
        source = next((self._source(tensor) for tensor in inputs if self._source(tensor) is not None), None)
        for output in outputs:
            if source is None:
                self._be_constant(output)
            elif id(output) not in self._copies or not in_place:
                self._computed[id(output)] = source
            if source is not None and in_place and _memory(output) in self._constants:
                self._written[_memory(output)] = source
        self._alive += outputs

    def _source(self, tensor: Tensor) -> str | None:
        copy = self._copies.get(id(tensor))
        return self._computed_from(tensor) if copy is None else copy.names[0]

    def _computed_from(self, tensor: Tensor) -> str | None:
        """Return the parameter that a tensor, which is no copy of one, was computed from or has parts of."""
        if id(tensor) in self._copies:
            return None
        return self._computed.get(id(tensor), self._written.get(_memory(tensor)))

    def _be_activations(self, outputs: list[Tensor], *, in_place: bool = False) -> None:
        for output in outputs:
            self._computed.pop(id(output), None)
            if in_place:
                self._copies.pop(id(output), None)
                self._constants.pop(_memory(output), None)
                self._written.pop(_memory(output), None)

    def _be_constant(self, tensor: Tensor) -> None:
        self._constants[_memory(tensor)] = tensor.untyped_storage()

    def _is_activation(self, tensor: Tensor) -> bool:
        known = id(tensor) in self._copies or id(tensor) in self._computed
        return not known and _memory(tensor) not in self._constants

    def _all_entries(self, name: str) -> Callable[[], Tensor]:
        shape, count = self._parameters[name].shape, self._parameters[name].numel()
        return lambda: torch.arange(self._starts[name], self._starts[name] + count, device="cpu").view(shape)


class FusedAttention(TorchFunctionMode):
    """Tells a trace when it is inside torch's attention, which is one operation but for this pass."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, before = kwargs or {}, self._trace.in_fused_attention
        # Inside of which a mode is not asked again. Where the weights of attention are wanted it multiplies by itself.
        layer = func is F.multi_head_attention_forward and not kwargs.get("need_weights", True)
        self._trace.in_fused_attention = before or layer or func is F.scaled_dot_product_attention
        try:
            return func(*args, **kwargs)
        finally:
            self._trace.in_fused_attention = before


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found = []
    for value in values:
        found += _tensors(value) if isinstance(value, list | tuple) else [value] if isinstance(value, Tensor) else []
    return found


def _memory(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse tensors have none
        return -id(tensor)


def _flops(operation: Any, args: Any, kwargs: Any, result: Any, factors: Sequence[Tensor]) -> int:
    if operation in flop_registry:
        return int(flop_registry[operation](*args, **kwargs, out_val=result))
    if operation is _ATEN._trilinear:
        return 2 * factors[1].numel() * (factors[0].numel() // factors[0].shape[-1])
    return 2 * factors[0].numel()  # a matrix by a vector


def _moved(func: Any, args: Any, kwargs: Any, copies: Mapping[int, _Copy], place: int) -> Callable[[], Tensor]:
    """Return how to do to the numbers of entries what `func` does to the entries."""

    def swapped(value: Any, known: Mapping[int, _Copy]) -> Any:
        if isinstance(value, list | tuple):
            return [swapped(each, known) for each in value]
        return known[id(value)].entries() if isinstance(value, Tensor) else value

    known = {id(tensor): copies[id(tensor)] for tensor in _tensors(args)}

    def entries() -> Tensor:
        first, *others = swapped(args, known)
        operation = func.overloadpacket
        if operation in (_ATEN._to_copy, _ATEN.mul):
            return first  # type: ignore[no-any-return]
        if operation in (_ATEN.view, _ATEN._unsafe_view):
            return first.reshape(others[0])  # type: ignore[no-any-return]
        made = func(first, *others, **kwargs)
        return made if isinstance(made, Tensor) else made[place]

    return entries


def _computed_weight(name: str) -> UserError:
    return UserError(
        f"The parameter '{name}' is changed inside the model before it multiplies activations (scaled, normalised, "
        "masked, multiplied with another or written into another tensor), so that no mask can keep weights at zero; "
        "only parameters that are weights themselves, or parts of them put together by cat or stack, can be pruned."
    )
