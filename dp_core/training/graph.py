"""A training step as a CUDA graph: one launch in place of some hundred, which is what a step on few images is made of.

The logic is the same with any `Recorder`, so that it is tested on a CPU; only `CudaRecorder` needs a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

Update = Callable[[Tensor, Tensor], Tensor]

_WARM_UP = 3  # steps before the capture, in which torch chooses kernels and the optimiser makes its state


class Recorder(Protocol):
    """Records work on a device."""

    def aside(self) -> AbstractContextManager[None]:
        """Return the context in which the steps before the capture are done."""
        ...

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record what `function` does, without doing it, and return what replays it.

        Raises:
            RuntimeError: it does something that cannot be recorded.
        """
        ...


class CudaRecorder:
    """Records with torch.cuda.CUDAGraph on the current device."""

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Work on a stream of its own, as captures need it of the steps before them."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            yield
        torch.cuda.current_stream().wait_stream(stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Capture `function` in a CUDA graph."""
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            function()
        replay: Callable[[], None] = graph.replay
        return replay


class GraphedUpdate:
    """An update of fixed shape that is recorded once and then replayed.

    The first steps are done as they are. The next one is captured, with images and labels in buffers of its own, and
    this and all further ones are replays on new contents of these buffers. A batch of another shape is done as it is,
    and so is everything if the update cannot be recorded.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._warm_up = _WARM_UP
        self._recordable = True
        self._replay: Callable[[], None] | None = None
        self._images = self._labels = self._loss = torch.empty(0)

    def __call__(self, update: Update, before_capture: Callable[[], None], images: Tensor, labels: Tensor) -> Tensor:
        """Do one step and return its loss.

        Args:
            update: maps images and labels to the loss and changes parameters and optimiser in place, without waiting
                for the device; the same at every step. Everything that changes from step to step must come in through
                its arguments or through tensors that are changed in place.
            before_capture: clears what must not be part of the recording (gradients of the step before).
            images: of this step.
            labels: theirs.
        """
        if self._warm_up > 0:
            self._warm_up -= 1
            with self._recorder.aside():
                return update(images, labels)
        if self._replay is None and self._recordable:
            before_capture()
            self._record(update, images, labels)
        if self._replay is None or images.shape != self._images.shape or labels.shape != self._labels.shape:
            return update(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._replay()
        return self._loss.clone()

    def _record(self, update: Update, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images.clone(), labels.clone()

        def recorded() -> None:
            self._loss = update(self._images, self._labels)

        try:
            self._replay = self._recorder.capture(recorded)
        except RuntimeError:
            self._recordable = False


def draws_random_numbers(function: Callable[[], object], device: torch.device) -> bool:
    """Return whether `function` draws random numbers, which a replay could not do anew.

    Those of torch's generators count, of `device` (dropout) and of the CPU (layers that are skipped at random). They
    are left as they were.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        before = _states(device)
        function()
        return not all(map(torch.equal, before, _states(device)))


def _states(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
