"""The gradient of a network's loss as a function of parameters and data, and products with its derivatives."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, replace_all_batch_norm_modules_, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from dp_core.distillation.lowering import NotLowered, lowered
from dp_core.errors import UserError, in_one_line
from dp_core.kernels import takes_any_format, without_skipping
from dp_core.models import ModelSpec, build
from dp_core.seeds import generator
from dp_core.training import Network
from dp_core.training.graph import draws_random_numbers
from dp_core.training.inductor import compiling_is_off

InnerMode = Literal["eager", "compiled"]
Parameters = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Products:
    """The gradient g = ∇_θ ℓ at a point and, for a vector v, the derivatives of g·v by each of its arguments.

    Attributes:
        gradient: g, by parameter.
        images: ∂(g·v)/∂x, float32 [n, C, H, W].
        labels: ∂(g·v)/∂y, float32 [n, classes]; None for hard labels.
        hessian: ∂(g·v)/∂θ = H v, by parameter; None if it was not asked for.
    """

    gradient: Parameters
    images: Tensor
    labels: Tensor | None
    hessian: Parameters | None


def check_differentiable(spec: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> None:
    """See that the gradient of a network can be differentiated again, by weights and images; two random ones are tried.

    Raises:
        UserError: it cannot, such as that of an operation whose gradient is not differentiable; or the network draws
            random numbers.
    """
    model = build(spec, input_shape, classes, seed=0)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    images, labels = torch.randn(2, *input_shape, generator=generator(0, "images")), torch.arange(2) % classes
    inner = InnerGradient(model)
    try:
        drawing = draws_random_numbers(lambda: inner.gradient(parameters, images, labels), images.device)
        inner.products(parameters, images, labels, parameters, hessian=True)
    except Exception as error:  # a user's module may raise anything
        raise UserError(
            f"The gradient of the model '{spec.label()}' cannot be differentiated again: {in_one_line(error)}."
        ) from error
    if drawing:
        raise UserError(
            f"The model '{spec.label()}' draws random numbers in training (dropout): its steps cannot be done again."
        )


class InnerGradient:
    """Cross-entropy of a network on a batch, differentiated once and twice by torch.func.

    The network is in training mode; batch norms take the batch's statistics and keep none. Modules that draw random
    numbers (dropout) are not supported, as the same step is done twice.

    Args:
        model: gives architecture, device and parameter names; its parameters are not read or changed.
        mode: `eager` computes in float32 by torch's own kernels. `compiled` traces the second derivatives once for each
            shape and lets torch's compiler make code of them in which convolutions are in bfloat16 where the device has
            units for it, and takes the training engine for first derivatives. It costs half a minute for each
            architecture and is then 3 to 4 times faster on CPUs (benchmarks/trajectory_matching.py); what cannot be
            compiled is done eagerly, with a warning. `WINNOW_COMPILE=0` turns compiling off.
    """

    def __init__(self, model: nn.Module, *, mode: InnerMode = "eager") -> None:
        self._names = [name for name, _ in model.named_parameters()]
        self._any_format = takes_any_format(model)
        self._model = replace_all_batch_norm_modules_(copy.deepcopy(model).train())
        mode = "eager" if compiling_is_off() else mode
        self._mode = mode
        self._engine: tuple[nn.Module, Network] | None = None
        if mode == "compiled":
            executed = copy.deepcopy(self._model)
            self._engine = executed, Network(executed)
            self._engine[1].train()
        self._compiled: dict[Any, Callable[..., Any] | None] = {}
        without_skipping(self._model)

    def gradient(self, parameters: Parameters, images: Tensor, labels: Tensor) -> Parameters:
        """Return ∇_θ ℓ, float32 by parameter name."""
        if self._engine is not None:
            return self._by_engine(*self._engine, parameters, images, labels)
        found: Parameters = grad(self._loss)(dict(parameters), images.detach(), labels.detach())
        return found

    def products(
        self, parameters: Parameters, images: Tensor, labels: Tensor, vector: Parameters, *, hessian: bool
    ) -> Products:
        """Return the gradient and its products with `vector`; see Products.

        Args:
            parameters: θ by name.
            images: float32 [n, C, H, W].
            labels: int64 [n], or float32 [n, classes], by which the products are then taken, too.
            vector: v by parameter name.
            hessian: whether H v is wanted.
        """
        flat = [*(parameters[name] for name in self._names), *(vector[name] for name in self._names), images, labels]
        function = self._flat_products(soft=labels.dim() == 2, hessian=hessian)
        arguments = [self._laid_out(value.detach()) for value in flat]  # compiled code is for one layout
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the only attention that can be differentiated twice
            found = list(self._compiled_or_not(function, arguments, (labels.dim() == 2, hessian))(*arguments))
        count = len(self._names)
        gradient = dict(zip(self._names, found[:count], strict=True))
        return Products(
            gradient,
            found[count],
            found[count + 1] if labels.dim() == 2 else None,
            dict(zip(self._names, found[-count:], strict=True)) if hessian else None,
        )

    def _loss(self, parameters: Parameters, images: Tensor, labels: Tensor) -> Tensor:
        own = images if self._any_format else images.clone()  # which a user's code may change
        logits: Tensor = functional_call(self._model, dict(parameters), (own,))
        return F.cross_entropy(logits, labels)

    def _flat_products(self, *, soft: bool, hessian: bool) -> Callable[..., list[Tensor]]:
        count = len(self._names)

        def function(*flat: Tensor) -> list[Tensor]:
            parameters = dict(zip(self._names, flat[:count], strict=True))
            vector = dict(zip(self._names, flat[count : 2 * count], strict=True))
            images, labels = flat[2 * count :]
            given: list[Any] = [images, *([labels] if soft else []), *([parameters] if hessian else [])]

            def gradient(*given: Any) -> Parameters:
                at = given[-1] if hessian else parameters
                found: Parameters = grad(self._loss)(at, given[0], given[1] if soft else labels)
                return found

            value, pull = vjp(gradient, *given)[:2]
            back = list(pull(vector))
            tail = [back[-1][name] for name in self._names] if hessian else []
            return [*(value[name] for name in self._names), *back[: 2 if soft else 1], *tail]

        return function

    def _compiled_or_not(self, function: Callable[..., Any], arguments: list[Tensor], kind: Any) -> Callable[..., Any]:
        if self._mode == "eager":
            return function
        key = (kind, arguments[-2].shape)
        if key not in self._compiled:
            try:
                self._compiled[key] = lowered(function, arguments)
            except NotLowered as reason:  # a slower run must not be a silent one
                warnings.warn(f"Second derivatives are not compiled but computed eagerly: {reason}", stacklevel=3)
                self._compiled[key] = None
        return self._compiled[key] or function

    def _by_engine(
        self, model: nn.Module, network: Network, parameters: Parameters, images: Tensor, labels: Tensor
    ) -> Parameters:
        leaves = dict(model.named_parameters())
        with torch.no_grad():
            for name, leaf in leaves.items():
                leaf.copy_(parameters[name])
        loss = F.cross_entropy(network(images.detach()), labels.detach())
        found = torch.autograd.grad(loss, [leaves[name] for name in self._names], materialize_grads=True)
        return dict(zip(self._names, found, strict=True))

    def _laid_out(self, value: Tensor) -> Tensor:
        """Return images and weights of convolutions in channels-last memory if nobody sees it, else all contiguous."""
        last = self._any_format and value.dim() == 4
        return value.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
