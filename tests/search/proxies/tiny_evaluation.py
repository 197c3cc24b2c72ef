"""A proxy evaluation so small that it ends in seconds, on the images of tests/search/tiny.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from search.proxies.config import ProxyEvaluationConfig
from tests.search.tiny import _merged, write_images

ARCHITECTURES = 12
SPACE = {"models": {"name": "convnet", "depth": [1, 2], "width": [4, 8, 12], "norm": ["none", "batch"]}}
STEPS = {"steps": [2, 4], "batch_size": 16, "learning_rate": 0.02, "measures": ["accuracy"]}


def evaluation_tree(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return a config whose data are in `folder`/images and whose run would be `folder`/runs/tiny.

    A section in `changes` is merged into the one of its name, where a value of None removes a key; `proxies`,
    `combinations`, `sets` and `space` are replaced.
    """
    tree: dict[str, Any] = {
        "run": {"name": "tiny", "directory": str(folder / "runs")},
        "data": {"root": str(folder / "images"), "cache": str(folder / "cache"), "validation": 0.2},
        "space": SPACE,
        "proxies": {
            "parameters": {},
            "nwot": {"settings": {"images": 6}},
            "real": {"kind": "real_training", "replicates": 2, "settings": STEPS},
        },
        "combinations": {"both": {"of": ["nwot", "real@4"]}},
        "validation_images": 9,
        "truth": {
            "epochs": 1,
            "learning_rate": [0.02, 0.005],
            "tuning": 0.5,
            "recipe": {"batch_size": 16},
            "directory": str(folder / "truth"),
        },
        "answers": {"resamples": 100},
        "resources": {"concurrency": 1},
    }
    for section, values in changes.items():
        named = section in ("proxies", "combinations", "sets", "space")
        tree[section] = values if named else _merged(tree.get(section, {}), values)
    return {key: value for key, value in tree.items() if value is not None}


def evaluation_config(folder: Path = Path("nowhere"), **changes: Any) -> ProxyEvaluationConfig:
    return ProxyEvaluationConfig.model_validate(evaluation_tree(folder, **changes))


def write_evaluation(folder: Path, **changes: Any) -> Path:
    """Write the images, if they are not there, and the config; return the config's path."""
    if not (folder / "images").exists():
        write_images(folder / "images")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(evaluation_tree(folder, **changes)))
    return path


def write_odd_network(folder: Path) -> str:
    """Write a module with a network that has no activation, which NWOT cannot look at; return the network's name."""
    (folder / "odd.py").write_text(
        "from torch import nn\n\n\n"
        "def linear(input_shape, classes):\n"
        "    channels, height, width = input_shape\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, classes))\n"
    )
    return "odd:linear"
