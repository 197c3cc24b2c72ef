"""Compiling a network before its first step, so that whatever goes wrong goes wrong there and leaves no trace."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dp_core.training.inductor import compiler_settings, compiling_is_off, quiet_torch
from dp_core.training.layout import Layout
from dp_core.training.network import Network, unchanged_buffers
from dp_core.training.recipe import Precision


class NotCompiled(UserWarning):
    """A network is executed without torch.compile, which was asked for.

    Attributes:
        reason: what failed, without the full stop.
    """

    def __init__(self, error: Exception) -> None:
        text = str(error).replace("raised:\n", "raised ").strip().partition("\n")[0].rstrip(".")
        self.reason = f"torch.compile fails: {text or type(error).__name__}"
        super().__init__(f"{self.reason}. The network is executed without it.")


def compiled_network(
    model: nn.Module, precision: Precision, images: Tensor, loss: Callable[[Network], Tensor]
) -> Network | None:
    """Return a network that is compiled for such steps and nothing else; None where that cannot be had.

    Forward and backward pass are compiled, or loaded from the cache folder that all processes on the machine share,
    and run twice, the second time to see that the code serves again. Parameters, gradients, buffers and random number
    generators are as they were; so is the memory layout of the parameters if there is no such network, which is told
    in one warning, `NotCompiled`, unless compiling is turned off.

    Args:
        model: what is trained, in training mode.
        precision: the recipe's.
        images: of a step, as the network gets them.
        loss: maps a network around the model to that step's loss.
    """
    if compiling_is_off():
        return None
    layout = Layout(model)
    failure: NotCompiled | None = None
    try:
        with quiet_torch(), compiler_settings():
            network = Network(model, mode="compiled", precision=precision)
            network.train()
            devices = [images.device] if images.is_cuda else []
            with torch.random.fork_rng(devices), unchanged_buffers(model):
                _backward(model, loss(network))
                network.stance = "fail_on_recompile"
                _backward(model, loss(network))
                if images.is_cuda:
                    torch.cuda.synchronize(images.device)
            network.stance = "eager_on_recompile"
    except Exception as error:  # torch's compilers raise about everything
        failure = NotCompiled(error)
        logging.getLogger(__name__).debug("Not compiled.", exc_info=True)
    # Outside the except clause, whose traceback would keep the activations alive.
    if failure is None:
        return network
    layout.restore()
    warnings.warn(failure, stacklevel=2)
    return None


def _backward(model: nn.Module, loss: Tensor) -> None:
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.autograd.grad(loss, wanted, allow_unused=True)  # leaves the parameters' .grad alone
