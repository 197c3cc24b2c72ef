"""The true accuracy of every architecture, from a user's table or from trainings, and what it cost."""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from search.proxies.architecture import UNITS, Architecture, flops_of
from search.proxies.trainings import Trainings

if TYPE_CHECKING:
    from search.proxies.preparation import ProxyDesign
    from search.proxies.scores import Column


def truth_rows(prepared: ProxyDesign, trainings: Trainings | None) -> list[dict[str, Any]]:
    """Return a row for each architecture, in the order of the architectures; `accuracy` is None where it is not known.

    Costs are those of the trainings, of those that chose the learning rate too, and so many times of one architecture.
    """
    if trainings is None:
        assert prepared.table is not None, "the accuracies come from a table"
        known = dict(zip(prepared.table.names, prepared.table.accuracies, strict=True))
        return [_of_table(prepared, architecture, known[architecture.label]) for architecture in prepared.architectures]
    return [row_of_trainings(trainings, architecture) for architecture in prepared.architectures]


def accuracies(rows: list[dict[str, Any]]) -> Column:
    """Return the accuracies [N] of `truth_rows`, NaN where unknown."""
    return np.array([math.nan if row["accuracy"] is None else row["accuracy"] for row in rows])


def training_costs(rows: list[dict[str, Any]]) -> dict[str, Column]:
    """Return the costs [N] by unit of those units that all known architectures have."""
    known = [row for row in rows if row["accuracy"] is not None]
    units = [unit for unit in UNITS if known and all(row[unit] is not None for row in known)]
    return {unit: np.array([math.nan if row[unit] is None else float(row[unit]) for row in rows]) for unit in units}


def _row(architecture: Architecture) -> dict[str, Any]:
    return {
        "architecture": architecture.label,
        "parameters": architecture.parameters,
        "forward_flops": architecture.flops,
    }


def _of_table(prepared: ProxyDesign, architecture: Architecture, accuracy: float) -> dict[str, Any]:
    gradients = prepared.config.truth.image_gradients
    # With hyperparameters of the user's on top, it is other networks than the table's that are counted here.
    same = gradients is not None and not prepared.config.space.hyperparameters
    return {
        **_row(architecture),
        "accuracy": accuracy,
        "accuracy_std": None,
        "seeds": None,
        "learning_rate": None,
        "image_gradients": gradients,
        "flops": flops_of(architecture, gradients) if same and gradients else None,
        "seconds": None,
        "processor_seconds": None,
        "status": "table",
        "reason": None,
    }


def row_of_trainings(trainings: Trainings, architecture: Architecture) -> dict[str, Any]:
    """Return the row of an architecture whose accuracy is that of trainings."""
    tunings = [trainings.known(training) for training in trainings.tunings(architecture)]
    finals = trainings.finals(architecture)
    trained = [trainings.known(training) for training in finals]
    done = [row for row in (*tunings, *trained) if row is not None]
    failed = next((row for row in done if row["status"] == "failed"), None)
    found = [row["test_accuracy"] for row in trained if row is not None and row["status"] != "failed"]
    whole = bool(trained) and len(found) == len(trained)
    costs = {unit: sum(row[unit] or 0 for row in done) for unit in UNITS if unit != "flops"}
    return {
        **_row(architecture),
        "accuracy": fmean(found) if whole else None,
        "accuracy_std": stdev(found) if whole and len(found) > 1 else None,
        "seeds": len(found),
        "learning_rate": finals[0].recipe.learning_rate if finals else None,
        **costs,
        "flops": flops_of(architecture, costs["image_gradients"]),
        "status": "failed" if failed is not None else _state(trained) if whole else "unfinished",
        "reason": None if failed is None else failed["reason"],
    }


def _state(trained: list[dict[str, Any] | None]) -> str:
    diverged = any(row is not None and row["status"] == "diverged" for row in trained)
    return "diverged" if diverged else "finished"
