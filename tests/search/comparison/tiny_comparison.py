"""A comparison so small that it ends in seconds, on the images of tests/search/tiny.py; and a network that fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from dp_core.data.preprocessing import Standardisation
from dp_core.distillation import DistilledSet
from dp_core.models import ModelSpec, build
from dp_core.pruning import Mask, Scope
from search.comparison.config import ComparisonConfig
from search.comparison.methods import Setting, methods_of
from tests.search.tiny import CLASSES, _merged, write_images
from trainables.laboratory import Method

SHAPE = (3, 8, 8)
TINY = {"name": "convnet", "depth": 1, "width": 4, "norm": "none", "pooling": "average"}  # 108 + 192 weights
TRAIN_IMAGES = 48  # 20 a class, a fifth of them held back


def comparison_tree(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return a config whose data are in `folder`/images and whose run would be `folder`/runs/tiny.

    A section in `changes` is merged into the one of its name, where a value of None removes a key; `methods`, `models`
    and `sets` are replaced.
    """
    tree: dict[str, Any] = {
        "run": {"name": "tiny", "directory": str(folder / "runs"), "seeds": 2},
        "data": {"root": str(folder / "images"), "cache": str(folder / "cache"), "validation": 0.2},
        "distill": {"method": "random_images", "directory": str(folder / "sets")},
        "models": {"tiny": TINY},
        "sparsities": [0.5, 0.8],
        "prune_fraction": 0.5,
        "round_recipe": {"optimizer": "adamw", "batch_size": 16, "learning_rate": 0.02, "precision": "float32"},
        "methods": {"dense": {"kind": "dense"}, "imp": {"source": "real", "steps": 2}},
        "retrain": {"epochs": 1, "recipe": {"optimizer": "adamw", "batch_size": 16, "learning_rate": 0.02}},
        "resources": {"concurrency": 1},
    }
    for section, values in changes.items():
        named = section in ("methods", "models", "sets")
        tree[section] = values if named else _merged(tree.get(section, {}), values)
    return {key: value for key, value in tree.items() if value is not None}


def comparison_config(folder: Path = Path("nowhere"), **changes: Any) -> ComparisonConfig:
    return ComparisonConfig.model_validate(comparison_tree(folder, **changes))


def write_comparison(folder: Path, **changes: Any) -> Path:
    """Write the images, if they are not there, and the config; return the config's path."""
    if not (folder / "images").exists():
        write_images(folder / "images")
    path = folder / "comparison.yaml"
    path.write_text(yaml.safe_dump(comparison_tree(folder, **changes)))
    return path


def methods(
    given: Mapping[str, Any],
    *,
    sets: Mapping[str, DistilledSet] | None = None,
    **changes: Any,
) -> dict[str, Method]:
    """Return what `given` means for a network on 48 training images of three classes."""
    config = comparison_config(methods=given, **changes)
    network = build(ModelSpec.from_dict(TINY), SHAPE, len(CLASSES), seed=0)
    dense = Mask.ones(network, Scope(config.scope.include, config.scope.exclude))
    final = config.retrain.parsed_recipe()
    return methods_of(Setting(config, dense, TRAIN_IMAGES, len(CLASSES), sets or {}, final))


def ready_made(
    classes: tuple[str, ...] = CLASSES, shape: tuple[int, int, int] = SHAPE, learning_rate: float | None = None
) -> DistilledSet:
    """Return a distilled set of two images a class."""
    draw = torch.Generator().manual_seed(0)
    return DistilledSet(
        images=torch.randn(2 * len(classes), *shape, generator=draw),
        labels=torch.arange(2 * len(classes)) % len(classes),
        preprocessing=Standardisation((0.5,) * shape[0], (0.25,) * shape[0]),
        class_names=classes,
        images_per_class=2,
        learning_rate=learning_rate,
        provenance={"distiller": {"method": "by hand"}},
    )


class _Failing(nn.Module):
    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.linear(images))  # images are not flat


def failing(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a network that takes no image of the size that it was asked for."""
    return _Failing(input_shape[0] * input_shape[1] * input_shape[2], classes)
