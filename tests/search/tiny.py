"""A search so small that it ends in seconds: three classes of 8×8 images, networks of 300 weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from search.config.models import SearchConfig
from search.config.objectives import objectives_of
from search.pipeline.warm_start import points
from search.space import Space
from search.study.constraints import Limits
from search.study.record import StudyRecord
from search.study.storage.store import TrialStore
from search.study.trials import STUDY
from tests.dp_core.data.shard_files import encode, write_shard
from trainables.screening.round import Round

CLASSES = ("red", "green", "blue")
TRAIN, TEST = 20, 5  # images a class


def write_images(root: Path) -> Path:
    """Write Parquet shards of noise in which the channel of the image's class is brighter; return their folder."""
    draw = np.random.default_rng(0)
    for split, per_class in (("train", TRAIN), ("test", TEST)):
        labels = [index % len(CLASSES) for index in range(per_class * len(CLASSES))]
        images = []
        for label in labels:
            image = draw.integers(0, 100, (8, 8, 3), dtype=np.uint8)
            image[:, :, label] += 150
            images.append(encode(image))
        write_shard(root / f"{split}-00000-of-00001.parquet", images, labels, names=CLASSES)
    return root


def config_tree(folder: Path, **changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose data are in `folder`/images and whose run would be `folder`/runs/tiny.

    A section in `changes` is merged into the one of its name; a value of None removes a key.
    """
    tree: dict[str, Any] = {
        "run": {"name": "tiny", "directory": str(folder / "runs")},
        "data": {"root": str(folder / "images"), "cache": str(folder / "cache"), "validation": 0.2},
        "distill": {"method": "random_images", "directory": str(folder / "sets")},
        "space": {
            "model": {
                "name": "convnet", "depth": 1, "width": 4, "norm": "none",
                "pooling": {"choice": ["max", "average"]},
            },
            "sparsity": {"float": [0.5, 0.8]},
            "source": {"choice": ["distilled", "real"]},
            "ipc": {"choice": [2], "when": {"source": "distilled"}},
            "recipe": {"steps": 4, "batch_size": 16, "learning_rate": 0.1},
        },
        "screen": {"prune_fraction": 0.5},
        "search": {"trials": 4, "sampler": "random"},
        "promote": {"top": 1, "audit": 0},
        "retrain": {"epochs": 1, "recipe": {"batch_size": 16, "learning_rate": 0.05}},
        "resources": {"concurrency": 1},
    }  # fmt: skip
    for section, values in changes.items():
        tree[section] = _merged(tree.get(section, {}), values)
    return tree


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return copy.deepcopy(new)
    merged = {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return {key: value for key, value in merged.items() if value is not None}


def config_of(folder: Path, **changes: Mapping[str, Any]) -> SearchConfig:
    return SearchConfig.model_validate(config_tree(folder, **changes))


def study_of(folder: Path, config: SearchConfig) -> StudyRecord:
    """Open the study that a run in `folder` would have, without its data."""
    objectives = objectives_of(config.search.objectives)
    store = TrialStore.open(folder / "study.journal", config.search.storage, STUDY, objectives)
    space = Space.parse(config.space)
    limits = Limits(config.search.constraints, (3, 8, 8), len(CLASSES))
    return StudyRecord(store, config, space, len(CLASSES), limits=limits, points=points(config.search.start, space))


def write_config(folder: Path, **changes: Mapping[str, Any]) -> Path:
    """Write the images, if they are not there, and the config; return the config's path."""
    if not (folder / "images").exists():
        write_images(folder / "images")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config_tree(folder, **changes)))
    return path


def a_round(number: int, score: float, **changes: Any) -> Round:
    """Return what a trial reports of a round."""
    row = {
        "round": number,
        "rung": 0,
        "rung_round": number,
        "rung_done": False,
        "fidelity": "real",
        "score": score,
        "score_sem": None,
        "proxy_accuracy": score,
        "proxy_accuracy_sem": None,
        "proxy_loss": 1.0,
        "replicates": 1,
        "sparsity": 1 - 0.5 ** (number - 1),
        "density": 0.5 ** (number - 1),
        "prunable_parameters": 300,
        "parameters": 307,
        "parameters_left": 307,
        "flops_dense": 14208,
        "flops_remaining": 7104,
        "latency_ms": None,
        "steps": 2,
        "image_gradients": 64 * number,
        "seconds": 0.25 * number,
    }
    return Round(**{**row, **changes})
