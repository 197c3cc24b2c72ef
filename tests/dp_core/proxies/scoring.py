"""Proxies called on small networks and data."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from dp_core.proxies import ProxyInputs
from tests.dp_core.small import random_dataset

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Recording(ProxyInputs):
    """Inputs that remember the batches they gave."""

    given: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def batch(self, images: int, seed: int) -> tuple[Tensor, Tensor]:
        pixels, labels = super().batch(images, seed)
        self.given.append((pixels.clone(), labels))
        return pixels, labels


def inputs_of(shape: tuple[int, int, int] = (3, 8, 8), per_class: int = 10) -> Recording:
    """Return three classes of random images of this shape."""
    train = random_dataset(per_class, shape=shape, seed=1)
    return Recording(train, random_dataset(2, shape=shape, seed=2), device=CPU)


def linear_chain(*widths: int, seed: int = 0) -> nn.Sequential:
    """Return a chain of linear layers without biases on flattened images, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Linear(before, after, bias=False) for before, after in pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *layers).double()


def layer_weights(network: nn.Module) -> list[np.ndarray]:
    """Return the weights of the layers of a linear chain."""
    return [parameter.detach().numpy() for parameter in network.parameters()]


def chain_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> list[np.ndarray]:
    """Return ∂L/∂W of each layer of a linear chain by backpropagation in numpy; L is the mean cross-entropy."""
    weights = layer_weights(network)
    features = [images.double().flatten(1).numpy()]
    for weight in weights:
        features.append(features[-1] @ weight.T)
    exponentials = np.exp(features[-1])
    error = exponentials / exponentials.sum(1, keepdims=True) - np.eye(weights[-1].shape[0])[labels.numpy()]
    error /= len(images)
    gradients = []
    for weight, entering in zip(reversed(weights), reversed(features[:-1]), strict=True):
        gradients.append(error.T @ entering)
        error = error @ weight
    return gradients[::-1]


class Blind(nn.Module):
    """A network whose output does not depend on the image, though there is a path from one to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU())
        self.after = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.before(images) * 0)


def with_dropout(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a user's network that draws at random."""
    pixels = input_shape[0] * input_shape[1] * input_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 40), nn.Dropout(0.5), nn.ReLU(), nn.Linear(40, classes))


def overflowing(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a user's network whose logits are beyond float32 at its own weights, and at standard Gaussian ones."""
    pixels = input_shape[0] * input_shape[1] * input_shape[2]
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(pixels, 64, bias=False)]
    for _ in range(60):
        layers += [nn.ReLU(), nn.Linear(64, 64, bias=False)]
    network = nn.Sequential(*layers, nn.Linear(64, classes))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def functional(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a user's network whose activations no hook can see."""
    return FunctionalReLU(input_shape, classes)


class FunctionalReLU(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(input_shape[0], 4, 3)
        self.classifier = nn.Linear(4, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.convolution(images).relu().mean((2, 3)))
