"""Running statistics of norms, estimated anew on images of one's choice."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from dp_core.training.data import TrainingData
from dp_core.training.evaluation import evaluation_mode, executed
from dp_core.training.recipe import Mode, Precision

_STATISTICS = ("running_mean", "running_var")


def gathers_statistics(model: nn.Module) -> bool:
    """Return whether the network, evaluated, normalises by statistics that it gathers in training."""
    return bool(_gathering_norms(model))


def reestimate_statistics(
    model: nn.Module,
    data: TrainingData,
    *,
    batch_size: int = 500,
    precision: Precision = "float32",
    mode: Mode = "eager",
) -> None:
    """Replace the running statistics of batch (and instance) norms by those of the images of `data`, in place.

    What a network needs whose own statistics are not those of the images to come: after few steps, on a point between
    two networks, or for an average of weights (Izmailov et al. 2018, §3.2). Statistics become the mean over batches,
    each weighted by its images, of what the layer sees when it normalises with the batch's own statistics; of one that
    a pass calls several times, over its calls. Norms are torch's and those derived from them: one that is written from
    scratch keeps its statistics. Everything but these layers is in evaluation mode, so no dropout is active, and norms
    that a network keeps in evaluation mode while it trains (frozen ones) keep their statistics. A model without running
    statistics stays as it is.

    Args:
        model: on any device; modes and memory layout are in the end what they were.
        data: labels are not used.
        batch_size: images a forward pass; at least two are taken, of which a variance can be had.
        precision: of the forward passes.
        mode: how the model is executed; nothing is compiled for it.
    """
    if not gathers_statistics(model):
        return
    with executed(model, precision, mode) as network, torch.no_grad():
        norms = _gathering_norms(network.executed)
        # What is executed may be a copy that takes its settings from the model whenever it is called.
        pairs = zip(model.modules(), network.executed.modules(), strict=True)
        partners = [module for module, twin in pairs if any(twin is norm for norm in norms)]
        momenta = [(norm, norm.momentum) for norm in [*norms, *partners] if isinstance(norm, _NormBase)]
        means: list[dict[str, Tensor]] = [{} for _ in norms]
        seen = 0
        try:
            for norm, _ in momenta:
                norm.momentum = _mean_of_uses(norm)
            for norm in norms:
                norm.train()
            for images, _ in batches_in_order(data, max(2, batch_size), model):
                seen += len(images)
                for norm in norms:
                    norm.reset_running_stats()
                network(images)
                for norm, mean in zip(norms, means, strict=True):
                    for name in _STATISTICS:
                        found = getattr(norm, name)
                        mean[name] = mean.get(name, found).lerp(found, len(images) / seen)
            for norm, mean in zip(norms, means, strict=True):
                for name in _STATISTICS:
                    getattr(norm, name).copy_(mean[name])
        finally:
            for norm, momentum in momenta:
                norm.momentum = momentum


def _mean_of_uses(norm: _NormBase) -> float | None:
    """Return the momentum with which statistics that were reset become the mean over the uses of `norm` in one pass.

    Only torch's own batch norms can; of others it is the one with which they become those of the last use.
    """
    return None if type(norm).forward is _BatchNorm.forward else 1.0


def batches_in_order(data: TrainingData, batch_size: int, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through `data` once, in the fewest batches that hold at most `batch_size` images.

    Their sizes differ by one at most: a rest of a single image would have no variance. Yields images [n, C, H, W] in
    the network's space, on the device and in the format of the model's first parameter, and their labels.
    """
    like, pieces = next(model.parameters()), -(-len(data) // batch_size)
    for images, labels in zip(data.images.tensor_split(pieces), data.labels.tensor_split(pieces), strict=True):
        prepared, labels = TrainingData(images, labels, data.preprocessing).to(like.device).batch(slice(None))
        yield prepared.to(like.real.dtype), labels


def _gathering_norms(model: nn.Module) -> list[_NormBase]:
    """Return the norms that update running statistics while the model trains; its modes stay what they are."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.running_mean is not None]
    if not norms:
        return []
    with evaluation_mode(model):
        model.train()
        return [norm for norm in norms if norm.training]
