"""Compiling a network before its first step, so that whatever goes wrong goes wrong there and leaves no trace."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.training.inductor import compiler_settings, quiet_torch
from dp_core.training.network import Network, unchanged_buffers
from dp_core.training.precision import Precision
from dp_core.training.splitting import out_of_memory

_TIMED_PASSES = 4  # of which the first, in which caches fill, does not count


@dataclass(frozen=True)
class Work:
    """The steps that a network is to do.

    Attributes:
        model: what is trained, in training mode.
        images: the first step's, as the network gets them.
        loss: maps a network around the model to the first step's loss.
        steps: how many steps there are.
        precision: the recipe's.
    """

    model: nn.Module
    images: Tensor
    loss: Callable[[Network], Tensor]
    steps: int
    precision: Precision


class Layout:
    """The memory that a model's parameters are in, to go back to while their values are the same."""

    def __init__(self, model: nn.Module) -> None:
        self._memory = [(parameter, parameter.data) for parameter in model.parameters()]

    def restore(self) -> None:
        """Give every parameter that was laid out anew the memory it had."""
        for parameter, memory in self._memory:
            if parameter.stride() != memory.stride():
                parameter.data = memory


@dataclass(frozen=True)
class Candidate:
    """A network that may do the work, and the memory layout that it needs the model in."""

    network: Network
    layout: Layout


class NotCompiled(Exception):
    """A network could not be compiled.

    Attributes:
        lasting: whether it would fail again in another process; not so if memory or disk ran out.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        cause = getattr(error, "inner_exception", error)  # torch's compilers wrap what they meet
        passing = isinstance(cause, OSError | MemoryError) or type(cause).__name__ == "FailOnRecompileLimitHit"
        self.lasting = not (passing or out_of_memory(cause))


def compiled_network(work: Work) -> tuple[Network, float]:
    """Return a compiled network and the seconds that compiling took; it is compiled for such steps and nothing else.

    Forward and backward pass are compiled, or loaded from the cache folder that all processes on the machine share,
    and run twice, the second time to see that the code serves again. Parameters, gradients, buffers and random number
    generators are as they were, and nothing is printed.

    Raises:
        NotCompiled: no compiler, a model that torch cannot compile, no memory, … The model's memory layout is then as
            it was, too.
    """
    started = time.perf_counter()
    layout = Layout(work.model)
    failure: NotCompiled | None = None
    try:
        with quiet_torch(), compiler_settings():
            network = Network(work.model, mode="compiled", precision=work.precision)
            network.train()
            with _undisturbed(work):
                _forward_and_backward(network, work)
                network.stance = "fail_on_recompile"
                _forward_and_backward(network, work)
                _synchronise(work.images.device)
            network.stance = "eager_on_recompile"
    except Exception as error:  # torch's compilers raise about everything
        failure = NotCompiled(error)
        logging.getLogger(__name__).debug("Not compiled.", exc_info=True)
    # Outside the except clause, whose traceback would keep the activations alive.
    if failure is not None:
        layout.restore()
        raise failure
    return network, time.perf_counter() - started


def pass_seconds(candidates: Sequence[Candidate], work: Work) -> list[float] | None:
    """Return the seconds of each candidate's forward and backward pass, the best of a few; None if one fails.

    The candidates take turns, so that whatever else the machine does slows all of them. The model is left in the layout
    of the last one.
    """
    times: list[list[float]] = []
    try:
        with _undisturbed(work):
            for _ in range(_TIMED_PASSES):
                times.append([_seconds_of_pass(candidate, work) for candidate in candidates])
    except Exception:  # no memory, say: whatever it is, the step itself will meet it and tell
        return None
    return [min(each) for each in zip(*times[1:], strict=True)]


def _seconds_of_pass(candidate: Candidate, work: Work) -> float:
    candidate.layout.restore()
    _synchronise(work.images.device)
    started = time.perf_counter()
    _forward_and_backward(candidate.network, work)
    _synchronise(work.images.device)
    return time.perf_counter() - started


def _forward_and_backward(network: Network, work: Work) -> None:
    wanted = [parameter for parameter in work.model.parameters() if parameter.requires_grad]
    torch.autograd.grad(work.loss(network), wanted, allow_unused=True)  # leaves the parameters' .grad alone


@contextmanager
def _undisturbed(work: Work) -> Iterator[None]:
    device = work.images.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), unchanged_buffers(work.model):
        yield


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
