"""Spaces of architectures in which proxies are compared, each a list in a fixed order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dp_core.models.spec import ModelSpec

# Of NAS-Bench-201, in the order of its authors' code.
_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_BENCHMARK_WIDTH, _BENCHMARK_CELLS = 16, 5


def convnet720() -> list[ModelSpec]:
    """Return the 720 ConvNets among which distilled sets are tested as proxies (Zhao et al. 2021, arXiv 2006.05929)."""
    return _product(
        "convnet",
        depth=(1, 2, 3, 4),
        width=(32, 64, 128, 256),
        norm=("none", "batch", "layer", "instance", "group"),
        activation=("sigmoid", "relu", "leaky_relu"),
        pooling=("none", "max", "average"),
    )


def nasbench201_space(width: int = _BENCHMARK_WIDTH, cells: int = _BENCHMARK_CELLS) -> list[ModelSpec]:
    """Return all 15,625 cells of NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326), the last edge changing fastest.

    Args:
        width: channels of the first stage; a hyperparameter of the specs only where it is not the benchmark's 16.
        cells: cells of a stage; a hyperparameter of the specs only where it is not the benchmark's 5.
    """
    size = {"width": width} if width != _BENCHMARK_WIDTH else {}
    if cells != _BENCHMARK_CELLS:
        size["cells"] = cells
    cell = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
    return [
        ModelSpec("nasbench201", {"architecture": cell.format(*operations), **size})
        for operations in itertools.product(_OPERATIONS, repeat=6)
    ]


def edge_operations(architecture: str) -> tuple[str, ...]:
    """Return the operations on the six edges of a NAS-Bench-201 architecture string, in the order it has them."""
    nodes = (node.strip().strip("|") for node in architecture.split("+"))
    return tuple(edge.rpartition("~")[0] for node in nodes for edge in node.split("|"))


def resnet_family() -> list[ModelSpec]:
    """Return ten residual networks: ResNet-20 from a quarter of its width to twice it, ResNet-18 from an eighth up."""
    return [
        *_product("resnet20", width=(4, 8, 12, 16, 24, 32)),
        *_product("resnet18", width=(8, 16, 32, 64)),
    ]


def vit_family() -> list[ModelSpec]:
    """Return 48 vision transformers, for images whose sides 8 divides."""
    return _product("vit", depth=(2, 4, 6), width=(64, 128, 192, 256), heads=(2, 4), patch=(4, 8))


# A new space is one function and one line here.
SPACES: Mapping[str, Callable[[], list[ModelSpec]]] = {
    "convnet720": convnet720,
    "nasbench201": nasbench201_space,
    "resnet": resnet_family,
    "vit": vit_family,
}


def _product(name: str, **choices: Sequence[Any]) -> list[ModelSpec]:
    """Return a network for every combination of the choices, the last of them changing fastest."""
    combinations = itertools.product(*choices.values())
    return [ModelSpec(name, dict(zip(choices, values, strict=True))) for values in combinations]
