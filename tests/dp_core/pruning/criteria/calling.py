"""Criteria called on the tiny network of tests/dp_core/small.py."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dp_core.pruning import Criterion, Examples, Mask
from tests.dp_core.small import random_data


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def examples_of(images: Tensor, labels: Tensor) -> Examples:
    return lambda count: (images[:count], labels[:count])


def no_examples(count: int) -> tuple[Tensor, Tensor]:
    raise AssertionError("a criterion that looks at weights only asked for images")


def pruned(criterion: Criterion, model: nn.Module, mask: Mask, sparsity: float, seed: int = 0) -> Mask:
    data = random_data(seed=seed)
    examples = examples_of(data.images, data.labels) if criterion.image_gradients else no_examples
    return criterion(model, mask, sparsity, draw(seed), examples)


def kept_counts(mask: Mask) -> list[int]:
    return [int(tensor.sum()) for tensor in mask.values()]


def linear_net(*weights: Sequence[Sequence[float]]) -> nn.Sequential:
    """Return a chain of linear layers without biases and with these weights, in float32."""
    layers = []
    for rows in weights:
        values = torch.tensor(rows)
        layer = nn.Linear(values.shape[1], values.shape[0], bias=False)
        layer.weight = nn.Parameter(values)
        layers.append(layer)
    return nn.Sequential(*layers)
