"""The Pareto front of a search with several objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search.config.objectives import Objective
from search.output.numbers import count, duration, magnitude, milliseconds, percent
from search.output.pareto import hypervolume, non_dominated, normalised
from search.pipeline.tables import last_round
from search.report.facts import Row

MOST_MEASURED = 3
"""Objectives up to which a hypervolume is computed: its cost grows fast with their number."""

_MOMENTS = 40


@dataclass(frozen=True)
class Shown:
    """How an objective is shown: its heading, its number, its number on an axis, and whether that axis is a log one."""

    heading: str
    text: Callable[[float], str]
    scale: float = 1.0
    log: bool = False


SHOWN: Mapping[str, Shown] = {
    "score": Shown("Score", lambda value: f"{value:.3f}"),
    "accuracy": Shown("Proxy accuracy, %", percent, scale=100),
    "sparsity": Shown("Sparsity, %", percent, scale=100),
    "parameters": Shown("Parameters left", count, log=True),
    "flops": Shown("FLOPs remaining", magnitude, log=True),
    "latency": Shown("Latency, ms", milliseconds, log=True),
    "seconds": Shown("Screening", duration, log=True),
    "image_gradients": Shown("Image-gradients", magnitude, log=True),
}


def front(trials: Sequence[Row], objectives: Sequence[Objective]) -> list[Row]:
    """Return the finished trials that no other of their source dominates.

    They are in the order of sources and then of the first objective, the best first. Proxy accuracies of different
    sources are not on one scale, so each source has a front of its own. Trials that break a constraint are in none.
    """
    found: list[Row] = []
    for rows in _finished_by_source(trials, objectives).values():
        chosen = [row for row, kept in zip(rows, non_dominated(_gains(rows, objectives)), strict=True) if kept]
        found += sorted(chosen, key=lambda row: (-objectives[0].gain(last_round(row)), row["trial"]))
    return found


def growth(trials: Sequence[Row], objectives: Sequence[Objective]) -> dict[str, list[tuple[int, float]]]:
    """Return, by source, the hypervolume after so many finished trials, at up to 40 moments.

    Each objective is scaled so that 0 and 1 are the worst and the best finished trial of the source in the end; the
    hypervolume is what share of that box is dominated. Empty for more than `MOST_MEASURED` objectives.
    """
    if len(objectives) > MOST_MEASURED:
        return {}
    found = {}
    for source, rows in _finished_by_source(trials, objectives).items():
        gains = normalised(_gains(rows, objectives))
        moments = np.unique(np.linspace(1, len(rows), min(_MOMENTS, len(rows))).round().astype(int))
        found[source] = [(int(n), _volume(gains[:n])) for n in moments]
    return found


def _volume(gains: np.ndarray) -> float:
    return hypervolume(gains[non_dominated(gains)], [0.0] * gains.shape[1])


def _finished_by_source(trials: Sequence[Row], objectives: Sequence[Objective]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in trials:
        if row["state"] != "COMPLETE" or row["broken_constraints"] is not None:
            continue
        if all(np.isfinite(objective.value(last_round(row))) for objective in objectives):
            found.setdefault(row["source"], []).append(row)
    return dict(sorted(found.items()))


def _gains(rows: Sequence[Row], objectives: Sequence[Objective]) -> np.ndarray:
    return np.array([[objective.gain(last) for objective in objectives] for last in map(last_round, rows)])
