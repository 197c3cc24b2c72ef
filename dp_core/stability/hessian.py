"""Sharpness: the largest eigenvalue of the Hessian of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from dp_core.errors import UserError, nearest
from dp_core.judging.statistics import batches_in_order
from dp_core.seeds import generator
from dp_core.stability.states import check_data, kept_weights
from dp_core.training.data import TrainingData
from dp_core.training.evaluation import evaluation_mode


@dataclass(frozen=True)
class TopEigenvalue:
    """The largest eigenvalue of a symmetric matrix H, approximated from below.

    Attributes:
        value: vᵀHv for the unit vector v that was found.
        residual: ‖Hv - value · v‖, as the recurrence gives it; an eigenvalue lies within it of `value`, and the error
            of `value` is about its square over the distance to the next eigenvalue.
        iterations: products with H.
        converged: whether the residual came down to the tolerance.
    """

    value: float
    residual: float
    iterations: int
    converged: bool


def top_eigenvalue(
    model: nn.Module,
    data: TrainingData,
    *,
    mask: Mapping[str, Tensor] | None = None,
    parameters: Collection[str] | None = None,
    iterations: int = 100,
    tolerance: float = 1e-3,
    seed: int = 0,
    batch_size: int = 500,
) -> TopEigenvalue:
    """Return the largest (not the largest in magnitude) eigenvalue of the Hessian of the mean cross-entropy.

    In evaluation mode, so that the loss is a function of the parameters alone. Lanczos' method with full
    reorthogonalisation (Golub & Van Loan 2013, §10.3) on exact Hessian-vector products (Pearlmutter 1994), each over
    all of `data`; power iteration would find the most negative eigenvalue wherever that is larger in magnitude.
    Computes eagerly in the format of the model's weights, and keeps one vector over the kept parameters an iteration:
    ten to thirty are usual.

    Args:
        model: the plain network; parameters, buffers, modes and `.grad` are left as they are.
        data: images with hard labels.
        mask: {parameter name: bool tensor}, True where kept: the Hessian is restricted to the weights kept (and all
            of the parameters that the mask does not name), at the model's weights as they are. None is all weights.
        parameters: names of the parameters that the Hessian is of; None is all that require a gradient.
        iterations: at most, at least 1.
        tolerance: of the residual relative to the eigenvalue's magnitude, above 0. A residual that is rounding
            beside the spectrum will do as well.
        seed: draws the first vector.
        batch_size: images a double backward pass; bounds the memory and leaves the result the same but for rounding.

    Raises:
        UserError: soft labels, a mask or parameter names of another model, nothing left to differentiate by, loss or
            weights that are not finite, or an argument outside its range.
    """
    check_data(data, batch_size)
    if iterations < 1 or not tolerance > 0:
        raise UserError(
            f"An eigenvalue needs at least 1 iteration and a tolerance above 0, not {iterations} and {tolerance}."
        )
    kept = kept_weights(model, mask)
    weights = {name: weight.detach().requires_grad_() for name, weight in _chosen(model, parameters).items()}
    selected = torch.cat(
        [kept.get(name, torch.ones_like(w, dtype=torch.bool)).flatten() for name, w in weights.items()]
    )
    size = int(selected.sum())
    if not size:
        raise UserError("The mask keeps none of these parameters, so there is no Hessian.")

    def multiply(vector: Tensor) -> Tensor:
        scattered = vector.new_zeros(len(selected)).masked_scatter_(selected, vector)
        return _hessian_product(model, weights, data, scattered, batch_size)[selected]

    start = torch.randn(size, generator=generator(seed, "lanczos")).to(next(iter(weights.values())).detach())
    with evaluation_mode(model):
        return _largest_eigenvalue(multiply, start, iterations=iterations, tolerance=tolerance)


def _chosen(model: nn.Module, names: Collection[str] | None) -> dict[str, nn.Parameter]:
    known = dict(model.named_parameters())
    for name in names or ():
        if name not in known:
            raise UserError(f"The model has no parameter '{name}'.{nearest(name, known)}")
    chosen = {name: p for name, p in known.items() if (p.requires_grad if names is None else name in names)}
    if not chosen:
        raise UserError("There is no parameter to differentiate the loss by.")
    return chosen


def _hessian_product(
    model: nn.Module, weights: Mapping[str, Tensor], data: TrainingData, vector: Tensor, batch_size: int
) -> Tensor:
    """Return H · vector [parameters], H being the Hessian of the mean loss over `data` in `weights`, end to end."""
    leaves = list(weights.values())
    pieces = vector.split([leaf.numel() for leaf in leaves])
    directions = [piece.view(leaf.shape) for piece, leaf in zip(pieces, leaves, strict=True)]
    product = torch.zeros_like(vector)
    for images, labels in batches_in_order(data, batch_size, model):
        # Of scaled-dot-product attention only the plain form can be differentiated twice.
        with torch.enable_grad(), torch.autocast(vector.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
            loss = F.cross_entropy(functional_call(model, dict(weights), (images,)), labels, reduction="sum")
            slopes = torch.autograd.grad(loss / len(data), leaves, create_graph=True, materialize_grads=True)
            along = sum((slope * each).sum() for slope, each in zip(slopes, directions, strict=True))
            columns = torch.autograd.grad(along, leaves, materialize_grads=True)
        product += torch.cat([column.flatten() for column in columns])
    return product


def _largest_eigenvalue(
    multiply: Callable[[Tensor], Tensor], start: Tensor, *, iterations: int, tolerance: float
) -> TopEigenvalue:
    """Return the largest eigenvalue of the symmetric matrix that `multiply` multiplies a vector with."""
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        rest = multiply(basis[-1])
        diagonal.append(float(basis[-1] @ rest))
        if not math.isfinite(diagonal[-1]):
            raise UserError("The loss of this network has no finite Hessian: its weights or outputs are too large.")
        for _ in range(2):  # once leaves rounding along the basis, twice is enough (Parlett 1998, §6.9)
            for vector in basis:
                rest -= (vector @ rest) * vector
        length = float(rest.norm())
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        value, residual = float(values[-1]), length * abs(float(vectors[-1, -1]))
        rounding = torch.finfo(start.dtype).eps * float(np.abs(values).max())
        converged = residual <= max(tolerance * abs(value), rounding)
        if converged or len(diagonal) == min(iterations, len(start)):
            return TopEigenvalue(value, residual, len(diagonal), converged)
        beside.append(length)
        basis.append(rest / length)
