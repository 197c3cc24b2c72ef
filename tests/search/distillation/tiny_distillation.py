"""A distillation so small that it ends in a second, on the images of tests/search/tiny.py or gray ones like them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from search.distillation.config import DistillConfig
from tests.dp_core.data.shard_files import encode, write_shard
from tests.search.tiny import CLASSES, TEST, TRAIN, _merged, write_images

TRAIN_IMAGES = 16  # a class: 20, a fifth of them held back
NETWORK = {"name": "convnet", "depth": 1, "width": 4, "norm": "none"}


def distill_tree(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return a config whose data are in `folder`/images and whose run would be `folder`/runs/tiny.

    A section in `changes` is merged into the one of its name; a value of None removes a key.
    """
    tree: dict[str, Any] = {
        "run": {"name": "tiny", "directory": str(folder / "runs")},
        "data": {"root": str(folder / "images"), "cache": str(folder / "cache"), "validation": 0.2},
        "distill": {
            "method": "distribution_matching",
            "ipc": 2,
            "architectures": NETWORK,
            "settings": {"iterations": 6, "real_images": 4},
            "checkpoint_every": 2,
            "experts": str(folder / "experts"),
        },
    }
    for section, values in changes.items():
        tree[section] = _merged(tree.get(section, {}), values)
    return tree


def distill_config(folder: Path = Path("nowhere"), **changes: Any) -> DistillConfig:
    return DistillConfig.model_validate(distill_tree(folder, **changes))


def write_distillation(folder: Path, **changes: Any) -> Path:
    """Write the images, if they are not there, and the config; return the config's path."""
    if not (folder / "images").exists():
        write_images(folder / "images")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(distill_tree(folder, **changes)))
    return path


def write_gray_images(root: Path) -> Path:
    """Write shards of one-channel noise, brighter for a later class; return their folder."""
    draw = np.random.default_rng(0)
    for split, per_class in (("train", TRAIN), ("test", TEST)):
        labels = [index % len(CLASSES) for index in range(per_class * len(CLASSES))]
        images = [encode(draw.integers(0, 100, (8, 8), dtype=np.uint8) + np.uint8(60 * label)) for label in labels]
        write_shard(root / f"{split}-00000-of-00001.parquet", images, labels, names=CLASSES)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
