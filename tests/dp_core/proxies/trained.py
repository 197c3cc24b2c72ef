"""Small data and distilled sets for proxies that train, and the same trainings written out in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.distillation import DistilledSet
from dp_core.distillation.base import pixels
from dp_core.proxies import ProxyInputs
from tests.dp_core.small import random_dataset

CPU = torch.device("cpu")

# A space far from the standardisation of the data, whose pixels have means of about 0.5: it adds 8 to every value.
SHIFTED = Standardisation((-0.3,), (0.1,))


def set_in(space: Preprocessing, learning_rate: float | None = None) -> DistilledSet:
    """Return a set of two real images of each of three classes, in `space`."""
    source = random_dataset(2, seed=3)
    images = space(pixels(source, torch.arange(6)))
    return DistilledSet(images, source.labels, space, source.class_names, 2, learning_rate, {})


def trained_inputs(space: Preprocessing | None = None) -> ProxyInputs:
    """Return 24 training images, 180 validation images, and the sets `plain`, `shifted`, `whitened` and `learned`."""
    train = random_dataset(8, seed=1)
    whitening = ZCA.fit(train.images.float() / 255)
    usual = Standardisation((0.5,), (0.25,))
    sets = {
        "plain": set_in(usual),
        "shifted": set_in(SHIFTED),
        "whitened": set_in(whitening),
        "learned": set_in(usual, learning_rate=0.05),
    }
    return ProxyInputs(train, random_dataset(60, seed=2), sets, space, CPU)


def adamw(rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Return what makes AdamW as every trained proxy has it."""
    return lambda model: torch.optim.AdamW(model.parameters(), rate, weight_decay=5e-4)


def plain_sgd(rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Return what makes SGD without momentum and weight decay."""
    return lambda model: torch.optim.SGD(model.parameters(), rate)


def losses_of(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    steps: int,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    kept: Mapping[str, Tensor] | None = None,
) -> list[float]:
    """Train on the whole data at every step, without augmentation, at a constant rate; return the loss of each step.

    Where `kept` is False, weights are zero from before the first step on.
    """
    images, labels = data
    made, losses = optimizer(model), []
    model.train()
    _cut(model, kept)
    for _ in range(steps):
        loss = F.cross_entropy(model(images), labels)
        made.zero_grad()
        loss.backward()
        made.step()
        _cut(model, kept)
        losses.append(loss.item())
    return losses


def _cut(model: nn.Module, kept: Mapping[str, Tensor] | None) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if kept is not None and name in kept:
                parameter.mul_(kept[name])


def measured(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return accuracy and mean cross-entropy of a network on preprocessed images."""
    model.eval()
    with torch.no_grad():
        outputs = model(images)
    return (outputs.argmax(1) == labels).double().mean().item(), F.cross_entropy(outputs.double(), labels).item()


def calibrated(model: nn.Module, inputs: ProxyInputs, space: Preprocessing) -> nn.Module:
    """Give a network the norm statistics of one batch of all training images, and return it."""
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(space(inputs.train.images.float() / 255))
    return model


def held_back(inputs: ProxyInputs, space: Preprocessing) -> tuple[Tensor, Tensor]:
    """Return the validation images in a space, and their labels."""
    return space(inputs.validation.images.float() / 255), inputs.validation.labels
