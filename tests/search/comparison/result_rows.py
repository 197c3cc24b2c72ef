"""Result rows of `winnow prune` for tests: one by hand, or a whole invented comparison."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

DENSITIES = [{"name": "features.0.weight", "density": 0.4}, {"name": "classifier.weight", "density": 0.1}]
CURVE: dict[str, Any] = {"positions": [0.0, 0.5, 1.0], "path_errors": [0.3, 0.35, 0.3], "path_losses": [1.0, 1.2, 1.0]}


def result(method: str = "imp", seed: int = 0, accuracy: float | None = 0.7, **other: Any) -> dict[str, Any]:
    """Return a whole row; `other` replaces any column."""
    row = {
        "network": "convnet",
        "seed": seed,
        "method": method,
        "family": method.partition("-")[0],
        "kind": "iterative" if method.startswith("imp") else "at_initialisation",
        "parent": None,
        "source": "real" if method.startswith("imp") else None,
        "space": "standardised" if method.startswith("imp") else None,
        "criterion": "magnitude" if method.startswith("imp") else None,
        "steps": None,
        "learning_rate": None,
        "target_sparsity": 0.9,
        "sparsity": other.get("target_sparsity", 0.9),
        "rounds": 8,
        "mask_image_gradients": 1000,
        "mask_seconds": 4.0,
        "mask_processor_seconds": 8.0,
        "set_image_gradients": None,
        "set_seconds": None,
        "prunable_parameters": 8739,
        "parameters": 9130,
        "status": "finished",
        "reason": None,
        "test_accuracy": accuracy,
        "test_loss": 1.0,
        "validation_accuracy": accuracy,
        "validation_loss": 0.9,
        "train_learning_rate": 0.01,
        "train_image_gradients": 10_000,
        "train_seconds": 9.0,
        "train_processor_seconds": 9.5,
        "error_barrier": None,
        "loss_barrier": None,
        "positions": None,
        "path_errors": None,
        "path_losses": None,
        "top_eigenvalue": None,
        "eigenvalue_converged": None,
        "layer_densities": None,
    }
    return row | other


def dense(seed: int = 0, accuracy: float | None = 0.75, **other: Any) -> dict[str, Any]:
    """Return the row of an unpruned network."""
    cost = {"mask_image_gradients": 0, "mask_seconds": 0.0, "mask_processor_seconds": 0.0, "rounds": 0}
    return result("dense", seed, accuracy, target_sparsity=0.0, **cost) | other


def comparison(seeds: int = 3, sparsities: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)) -> list[dict[str, Any]]:
    """Return an invented comparison of 15 methods with all that a figure can show; random masks collapse at the end."""
    noise = np.random.default_rng(7)
    layers = [f"features.{number}.weight" for number in range(6)] + ["classifier.weight"]
    rows = [dense(seed, 0.75 + 0.004 * noise.normal(), error_barrier=0.01) for seed in range(seeds)]
    slopes = {"imp": (0.60, 0.035), "distilled": (0.67, 0.012), "subset": (0.64, 0.018)}
    methods = [(family, steps, *slope) for family, slope in slopes.items() for steps in (15, 50, 150, 500)]
    methods += [("random", 0, 0.62, 0.0), ("snip", 1, 0.66, 0.0), ("synflow", 2, 0.65, 0.0)]
    for family, steps, start, gain in methods:
        name = f"{family}-{steps}" if steps > 2 else family
        for sparsity in sparsities:
            for seed in range(seeds):
                mean = start + gain * math.log(max(steps, 15) / 15) - 0.4 * (sparsity - 0.5) ** 2
                gone = family == "random" and sparsity == max(sparsities)
                rows.append(
                    result(
                        name,
                        seed,
                        0.1 if gone else mean + 0.006 * noise.normal(),
                        family=family,
                        steps=steps or None,
                        target_sparsity=sparsity,
                        status="collapsed" if gone else "finished",
                        mask_image_gradients=steps * 800,
                        mask_seconds=steps * 0.08,
                        mask_processor_seconds=steps * 0.15 * (1.3 if family == "imp" else 1.0),
                        error_barrier=0.02,
                        positions=[0.0, 0.25, 0.5, 0.75, 1.0],
                        path_errors=[1 - mean + 0.1 * place * (1 - place) for place in (0.0, 0.25, 0.5, 0.75, 1.0)],
                        layer_densities=[
                            {"name": layer, "density": (1 - sparsity) * (0.4 + noise.random())} for layer in layers
                        ],
                    )
                )
    return rows
