"""Networks and data small enough for tests that train: a few hundred weights, images of 1×6×6."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import torch
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.models import ModelSpec, build
from dp_core.training import TrainingData

SHAPE = (1, 6, 6)
CLASSES = 3


def small_spec(norm: str = "batch") -> ModelSpec:
    return ModelSpec("convnet", {"depth": 1, "width": 4, "norm": norm})


def small_model(norm: str = "batch", seed: int = 0) -> nn.Module:
    """Return a ConvNet with 36 + 108 prunable weights, biases, and by default a norm with buffers."""
    return build(small_spec(norm), SHAPE, CLASSES, seed=seed)


def random_data(images: int = 20, seed: int = 0) -> TrainingData:
    """Return float images of shape SHAPE with labels 0, 1, 2, 0, 1, …"""
    draw = torch.Generator().manual_seed(seed)
    return TrainingData(torch.randn(images, *SHAPE, generator=draw), torch.arange(images) % CLASSES)


def random_dataset(
    per_class: int = 8, classes: int = CLASSES, shape: tuple[int, int, int] = SHAPE, seed: int = 0
) -> ImageDataset:
    """Return uint8 images, all different, in shuffled order; those of a higher class are brighter."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randperm(per_class * classes, generator=draw) % classes
    noise = torch.randint(0, 100, (len(labels), *shape), generator=draw)
    images = (noise + (150 * labels // max(classes - 1, 1))[:, None, None, None]).to(torch.uint8)
    digest = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    return ImageDataset(images, labels, tuple(f"class {c}" for c in range(classes)), digest)


def with_constant_channel(per_class: int = 8) -> ImageDataset:
    """Return images of two channels, those of `random_dataset` and one that is 102 everywhere."""
    source = random_dataset(per_class)
    images = torch.cat([source.images, torch.full_like(source.images, 102)], dim=1)
    return ImageDataset(images, source.labels, source.class_names)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """Return what another process would read of `state` from a checkpoint."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: Any, other: Any) -> bool:
    """Return whether two nested states are equal bit for bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
