"""Answers of proxy evaluations for tests: a row by hand, or a whole invented evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from search.proxies.answers import Answers, answers_of
from search.proxies.architecture import UNITS
from search.proxies.config import AnswersSection
from search.proxies.scores import Score

KINDS = {
    "parameters": ("parameters", 1.0, 0.0),
    "flops": ("flops", 1.2, 0.0),
    "nwot": ("nwot", 0.7, 0.0),
    "synflow": ("synflow", 1.6, 1.0),
    "snip": ("snip", 3.0, 100.0),
    "search-set@10": ("distilled_training", 2.5, 1_000.0),
    "search-set@30": ("distilled_training", 1.8, 3_000.0),
    "search-set@100": ("distilled_training", 1.5, 10_000.0),
    "search-set speed@30": ("distilled_training", 2.0, 3_000.0),
    "mtt-set@30": ("distilled_training", 9.0, 3_000.0),
    "random images@30": ("random_subset", 1.2, 3_000.0),
    "random images@100": ("random_subset", 0.9, 10_000.0),
    "real@10": ("real_training", 1.1, 1_000.0),
    "real@30": ("real_training", 0.7, 3_000.0),
    "real@100": ("real_training", 0.4, 10_000.0),
    "pruning@0.5": ("distilled_pruning", 1.7, 6_000.0),
    "pruning area": ("distilled_pruning", 1.4, 15_000.0),
    "ranks of all": ("rank_average", 0.5, 12_000.0),
}
"""Kind, noise of the ranks beside the truth's own spread, and image-gradients of each invented score."""


def answer(proxy: str = "nwot", kind: str = "nwot", spearman: float | None = 0.7, **other: Any) -> dict[str, Any]:
    """Return a whole row of the answers; `other` replaces any column."""
    low, high = (None, None) if spearman is None else (spearman - 0.1, spearman + 0.08)
    row = {
        "proxy": proxy,
        "kind": kind,
        "architectures": 100,
        "failed": 0,
        "spearman": spearman,
        "spearman_low": low,
        "spearman_high": high,
        "kendall": spearman,
        "kendall_low": low,
        "kendall_high": high,
        "seconds": 0.5,
        "processor_seconds": 0.6,
        "image_gradients": 0.0,
        "flops": 2e9,
        "advantage": None,
        "advantage_low": None,
        "advantage_high": None,
        "baseline": "parameters",
    }
    return row | other


def lead(value: float, low: float, high: float) -> dict[str, float]:
    """Return the columns of an advantage over the baseline."""
    return {"advantage": value, "advantage_low": low, "advantage_high": high}


def truth(architecture: str = "a", accuracy: float | None = 0.7, **other: Any) -> dict[str, Any]:
    """Return a whole row of the truths; `other` replaces any column."""
    row = {
        "architecture": architecture,
        "parameters": 100_000,
        "forward_flops": 2_000_000,
        "accuracy": accuracy,
        "accuracy_std": 0.004,
        "seeds": 2,
        "learning_rate": 0.002,
        "image_gradients": 50_000,
        "flops": 3e11,
        "seconds": 60.0,
        "processor_seconds": 61.0,
        "status": "finished",
        "reason": None,
    }
    return row | other


@dataclass(frozen=True)
class Evaluation:
    """An invented evaluation: what the tables and figures are made of."""

    answers: Answers
    truths: list[dict[str, Any]]
    columns: dict[str, list[float]]
    names: list[str] = field(default_factory=list)


def evaluation(architectures: int = 90, seed: int = 0, resamples: int = 100) -> Evaluation:
    """Return an evaluation of scores that are the true accuracy with more or less noise, and some values missing."""
    random = np.random.default_rng(seed)
    parameters = np.sort(random.integers(10_000, 2_000_000, architectures))
    quality = np.log(parameters) + random.normal(0, 1.0, architectures)
    true = 0.9 - 0.5 / (1 + np.exp(quality - quality.mean()))
    true = true + random.normal(0, 0.004, architectures)
    names = [f"convnet depth {index}" for index in range(architectures)]
    rates = random.choice([5e-4, 2e-3, 8e-3], architectures)
    truths = [
        truth(name, float(accuracy), parameters=int(count), learning_rate=float(rate), seconds=float(60 + count / 1e5))
        for name, accuracy, count, rate in zip(names, true, parameters, rates, strict=True)
    ]
    scores = {}
    for name, (kind, noise, gradients) in KINDS.items():
        values = quality + random.normal(0, 1, architectures) * noise * quality.std()
        if name == "parameters":
            values = parameters.astype(float)
        failures = {3: "The network has no layer that it can see."} if name == "synflow" else {}
        values[list(failures)] = np.nan
        cost = {
            "seconds": 1e-4 + gradients / 1000 + random.uniform(0, 0.01, architectures),
            "processor_seconds": 1e-4 + gradients / 900 + random.uniform(0, 0.01, architectures),
            "image_gradients": np.full(architectures, gradients),
            "flops": np.full(architectures, 3 * gradients * 2e6 + 2e6),
        }
        scores[name] = Score(kind, values, cost, failures)
    costs = {unit: np.array([float(row[unit]) for row in truths]) for unit in UNITS}
    found = answers_of(scores, names, true, costs, parameters.tolist(), AnswersSection(resamples=resamples), seed)
    return Evaluation(found, truths, {name: score.values.tolist() for name, score in scores.items()}, names)
