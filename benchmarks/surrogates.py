"""Made-up and tabular stand-ins for screening, on which samplers can be compared over thousands of trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from search.space import Space

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Surrogate:
    """A function of a candidate's parameters that stands for a screening.

    Attributes:
        space: what is searched.
        truth: accuracy, from 0 to 1, and size (parameters or FLOPs) of a candidate, without noise.
        sizes: the least and the greatest size, between which the hypervolume is measured on a logarithmic scale.
        floor: the accuracy from which the hypervolume is measured.
        noise: standard deviation of the accuracy that a sampler is told.
    """

    space: Space
    truth: Callable[[Params], tuple[float, float]]
    sizes: tuple[float, float]
    floor: float
    noise: float


def conditional(roughness: int = 0) -> Surrogate:
    """Return a convolutional network to be pruned, of nine parameters of which two are conditional.

    Accuracy saturates with the parameters left (a power law), a wide network bears more sparsity, the best learning
    rate depends on optimiser, momentum, width and normalisation, and normalisation goes with depth and pooling. On top
    there is a fixed roughness of about a point that no model of the space will find out. `roughness` seeds that.
    """
    space = Space.parse(
        {
            "model": {
                "depth": {"choice": [2, 3, 4]},
                "width": {"choice": [8, 16, 24, 32, 48, 64]},
                "norm": {"choice": ["none", "batch", "instance"]},
                "pooling": {"choice": ["max", "average"]},
            },
            "sparsity": {"float": [0.5, 0.98]},
            "recipe": {
                "optimizer": {"choice": ["sgd", "adamw"]},
                "learning_rate": {"float": [1e-4, 0.3], "log": True},
                "momentum": {"float": [0.5, 0.98], "when": {"recipe.optimizer": "sgd"}},
                "weight_decay": {"float": [1e-5, 1e-1], "log": True, "when": {"recipe.optimizer": "adamw"}},
            },
        }
    )
    rng = np.random.default_rng(roughness)
    waves, phases = rng.normal(0, 6, (12, 3)), rng.uniform(0, 2 * math.pi, 12)

    def truth(params: Params) -> tuple[float, float]:
        depth, width, sparsity = params["model.depth"], params["model.width"], params["sparsity"]
        left = _dense(depth, width) * (1 - sparsity)
        rate = math.log10(params["recipe.learning_rate"])
        loss = 1.6 * left**-0.3 + 4 * max(0.0, sparsity - 0.7 - 0.05 * math.log2(width / 8)) ** 2
        loss += _of_training(params, rate, width)
        loss -= {"none": 0.0, "batch": 0.03, "instance": 0.02 if depth == 2 else 0.04}[params["model.norm"]]
        loss += 0.015 * ((params["model.norm"] == "instance") != (params["model.pooling"] == "average"))
        where = np.array([rate / 3.5, sparsity / 0.48, math.log2(width) / 3])
        loss += 0.01 * float(np.cos(waves @ where + phases).mean() * math.sqrt(2 * 12) / 2)
        return min(max(0.88 - loss, 0.1), 0.95), left

    return Surrogate(space, truth, (_dense(2, 8) * 0.02, _dense(4, 64) * 0.5), floor=0.1, noise=0.01)


def _dense(depth: int, width: int) -> float:
    return 27 * width + 9 * width**2 * (depth - 1) + 10 * width


def _of_training(params: Params, rate: float, width: int) -> float:
    """Return what is lost by the recipe: nothing at its best settings, 0.3 where training fails."""
    if params["recipe.optimizer"] == "sgd":
        off = rate - math.log10(1 - params["recipe.momentum"]) - math.log10(0.2)
        other = 0.05 * ((params["recipe.momentum"] - 0.9) / 0.2) ** 2
    else:
        off = rate - math.log10(3e-3 * math.sqrt(16 / width))
        other = 0.02 * (math.log10(params["recipe.weight_decay"]) + 2.5) ** 2 - 0.01
    tolerance = 0.5 if params["model.norm"] == "none" else 1.2
    return float(0.3 * (1 - math.exp(-(off**2) / tolerance)) + min(other, 0.1))


OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Operations of NAS-Bench-201 (Dong and Yang 2020), one for each of six edges."""


def nasbench(table: Path) -> Surrogate:
    """Return NAS-Bench-201 as far as a sample of it tells: for the other cells, by those that share most edges.

    Args:
        table: Parquet with `arch_str`, `cifar10_valid_val_acc_200` (percent) and `cifar10_flops_m`.
    """
    rows = parquet.read_table(table).to_pylist()
    known = np.array([_edges(row["arch_str"]) for row in rows])
    values = np.array([[row["cifar10_valid_val_acc_200"] / 100, math.log(row["cifar10_flops_m"])] for row in rows])
    mean = values.mean(axis=0)
    # Kernel ridge regression; a cell without any neighbour gets the mean.
    alike = np.exp(-_different(known, known)) + 0.01 * np.eye(len(known))
    weights = np.linalg.solve(alike, values - mean)
    space = Space.parse({f"edge{i}": {"choice": list(OPERATIONS)} for i in range(6)})

    def truth(params: Params) -> tuple[float, float]:
        edges = np.array([[OPERATIONS.index(params[f"edge{i}"]) for i in range(6)]])
        accuracy, flops = (mean + np.exp(-_different(edges, known)) @ weights)[0]
        return float(np.clip(accuracy, 0.1, 1.0)), float(math.exp(flops))

    sizes = np.exp(values[:, 1])
    return Surrogate(space, truth, (float(sizes.min()), float(sizes.max())), floor=0.1, noise=0.003)


def _edges(name: str) -> list[int]:
    return [OPERATIONS.index(part.split("~")[0]) for part in name.replace("+", "").split("|") if part]


def _different(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return in how many edges cells differ, [N, M]."""
    different: np.ndarray = (some[:, None, :] != others[None, :, :]).sum(axis=2).astype(float)
    return different
