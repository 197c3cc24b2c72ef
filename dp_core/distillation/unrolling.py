"""Training unrolled: what comes out of some steps of SGD, and its gradient by the data that were trained on.

The steps are θ_{t+1} = θ_t − α ∇_θ ℓ(θ_t; x_t, y_t), plain SGD as in trajectory matching. Given dL/dθ_T, the gradients
by images, labels and α are summed up backwards, step by step, with one vector-Jacobian product of the step's gradient
each (`InnerGradient.products`). So the activations of one step at a time are held, however many steps are unrolled, and
not those of all steps as in code that lets autograd keep the whole graph.

- `exact=True`: θ_t of every step is kept (a network's parameters, no activations), and v_t = dL/dθ_t goes backwards
  through v_t = v_{t+1} − α H_t v_{t+1}: the gradient that backpropagation through all steps would give.
- `exact=False`: TESLA's (Cui et al., ICML 2023, arXiv 2211.10586): the dependence of later parameters on earlier steps
  is dropped, so v is the same at every step; the steps are done a second time instead of being kept, and memory is
  constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dp_core.distillation.inner_gradient import InnerGradient

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step trains on: images float [n, C, H, W] (augmented) and labels, int64 [n] or float [n, classes].

    Both may carry gradients, through which a gradient by them goes on to what they were made from.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class StepGradient:
    """Gradient of L by the images and, if they are soft, the labels of the `batch` of a step."""

    batch: Batch
    images: Tensor
    labels: Tensor | None

    def backward(self) -> None:
        """Let the gradient go on to what the batch was made from."""
        torch.autograd.backward(self.batch.images, self.images)
        if self.labels is not None and self.batch.labels.requires_grad:
            torch.autograd.backward(self.batch.labels, self.labels)


class Unrolled:
    """A training of a few steps.

    Attributes:
        end: θ_T by name.
        rate_gradient: dL/dα, once `pull_back` has come to its end.
        image_gradients: images that went forward and backward so far; on the way back each counts twice.

    Args:
        inner: the network's gradient.
        start: θ_0 by name, float32.
        rate: α, above 0.
        batches: returns the batch of a step, counted from 0; the same whenever it is asked, as each is made twice.
        steps: number of steps.
        exact: see above.
    """

    def __init__(
        self,
        inner: InnerGradient,
        start: Parameters,
        rate: float,
        batches: Callable[[int], Batch],
        steps: int,
        *,
        exact: bool,
    ) -> None:
        self._inner, self._start, self._rate = inner, dict(start), rate
        self._batches, self._steps, self._exact = batches, steps, exact
        self.image_gradients = 0
        # In one piece: small tensors left between the large ones of the passes would break up the allocator's memory.
        kept = steps if exact else 0
        self._kept = {name: value.new_empty((kept, *value.shape)) for name, value in self._start.items()}
        self.rate_gradient = 0.0
        self.end = self._forward()

    def pull_back(self, direction: Parameters) -> Iterator[StepGradient]:
        """Yield the gradients of L by the data of each step, given `direction` = dL/dθ_T.

        Afterwards `rate_gradient` is dL/dα = −Σ_t ∇ℓ(θ_t)·v_{t+1}.
        """
        self.rate_gradient = 0.0
        return self._backwards(direction) if self._exact else self._again(direction)

    def _forward(self) -> Parameters:
        current: Parameters = self._start
        for step in range(self._steps):
            with torch.no_grad():
                batch = self._batches(step)
            self.image_gradients += len(batch.images)
            if self._exact:
                for name, values in self._kept.items():
                    values[step] = current[name]
            gradient = self._inner.gradient(current, batch.images, batch.labels)
            current = _stepped(current, gradient, self._rate)
        return current

    def _backwards(self, direction: Parameters) -> Iterator[StepGradient]:
        vector = direction
        for step in reversed(range(self._steps)):
            batch = self._batches(step)
            self.image_gradients += 2 * len(batch.images)
            reached = {name: values[step] for name, values in self._kept.items()}
            found = self._inner.products(reached, batch.images, batch.labels, vector, hessian=True)
            self.rate_gradient -= _dot(found.gradient, vector)
            yield StepGradient(batch, *self._by_data(found.images, found.labels))
            assert found.hessian is not None
            vector = _stepped(vector, found.hessian, self._rate)

    def _again(self, direction: Parameters) -> Iterator[StepGradient]:
        current: Parameters = self._start
        for step in range(self._steps):
            batch = self._batches(step)
            self.image_gradients += 2 * len(batch.images)
            found = self._inner.products(current, batch.images, batch.labels, direction, hessian=False)
            self.rate_gradient -= _dot(found.gradient, direction)
            yield StepGradient(batch, *self._by_data(found.images, found.labels))
            current = _stepped(current, found.gradient, self._rate)

    def _by_data(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return -self._rate * images, None if labels is None else -self._rate * labels


def _stepped(parameters: Parameters, gradient: Parameters, rate: float) -> Parameters:
    names = list(parameters)
    moved = torch._foreach_add([parameters[name] for name in names], [gradient[name] for name in names], alpha=-rate)
    return dict(zip(names, moved, strict=True))


def _dot(first: Parameters, second: Parameters) -> float:
    return sum((value.detach() * second[name].detach()).sum().item() for name, value in first.items())
