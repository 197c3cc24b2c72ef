"""Which distiller gives the best set for the same minutes on one core?

    python -m benchmarks.distillers PATH [--seconds 120]

Each distiller makes 10 images a class from the training split of complete CIFAR-10 (45,000 images; PATH holds its
Parquet shards) with a ConvNet-3 of width 32, in about the same time: it is asked for as many iterations as fit, going
by the first ones. Experts are trained before the clock starts, because they are shared between sets; what they cost
stands beside it. Then fresh networks of the same architecture and of one with batch norm are trained on each set for
100 and for 500 steps, with a learning rate chosen on validation images, and meet the test images.

Results are written after every distiller, and those that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import as_a_program, parser_of, provenance, write_report
from dp_core.data import Splits, open_splits
from dp_core.distillation import DISTILLERS, DistilledSet, Distiller, Workspace
from dp_core.distillation.evaluation import EvaluationPlan, evaluate_set
from dp_core.distillation.iterative import IterativeDistiller
from dp_core.models import ModelSpec

IPC, SEED = 10, 0
NETWORK = {"name": "convnet", "depth": 3, "width": 32}
NETWORKS = (
    ModelSpec("convnet", {"depth": 3, "width": 32, "norm": "instance"}),
    ModelSpec("convnet", {"depth": 3, "width": 32, "norm": "batch"}),
)
STEPS = (100, 500)
CALIBRATION = 3  # iterations that the first guess goes by, after as many to warm up

_MATCHING = {
    "steps": 20,
    "max_start_epoch": 6,
    "experts": {"experts": 6, "epochs": 8},
    "image_rate": 1000.0,
    "learned_rate_start": 0.01,
    "mode": "eager",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "random_images": {},
    "herding": {"model": NETWORK},
    "k_center": {"model": NETWORK},
    "rded": {"model": NETWORK},
    "distribution_matching": {},
    "gradient_matching": {"image_rate": 1.0, "network_steps": 10, "real_images": 64},
    "trajectory_matching": _MATCHING,
    "tesla": _MATCHING,
    "datm": {**_MATCHING, "first_max_start_epoch": 2, "label_rate": 2.0},
    "feature_regression": {"network_rate": 1e-3, "network_steps": 200},
}


def made(name: str, splits: Splits, seconds: float, experts: Path) -> tuple[DistilledSet, Distiller]:
    """Return the set that a distiller makes in about `seconds`."""
    kind = DISTILLERS[name]
    workspace = Workspace(say=print, experts=experts, validation=splits.validation)
    if not issubclass(kind, IterativeDistiller):
        distiller = kind(**SETTINGS[name])
        return distiller.distill(splits.train, IPC, SEED, workspace), distiller

    def of(iterations: int) -> IterativeDistiller:
        return kind(**{**SETTINGS[name], "architectures": NETWORK, "iterations": iterations})

    ticks: list[float] = []
    watching = replace(workspace, progress=lambda done, total, loss: ticks.append(time.perf_counter()))
    of(2 * CALIBRATION).distill(splits.train, IPC, SEED, watching)
    each = (ticks[-1] - ticks[-1 - CALIBRATION]) / CALIBRATION
    distiller = of(max(1, round(seconds / each)))
    return distiller.distill(splits.train, IPC, SEED, workspace), distiller


def measured(name: str, splits: Splits, seconds: float, experts: Path) -> dict[str, Any]:
    """Return what a set cost and what networks learn from it."""
    found, distiller = made(name, splits, seconds, experts)
    rows: list[dict[str, Any]] = []
    for steps in STEPS:
        plan = EvaluationPlan(networks=3, steps=steps, seed=SEED)
        rows += evaluate_set(found, splits.test, NETWORKS, validation=splits.validation, name=name, plan=plan)
    return {
        "settings": distiller.settings(),
        "cost": dict(found.provenance["cost"]),
        "peak_memory_bytes": found.provenance.get("peak_memory_bytes"),
        "accuracy": rows,
    }


def main() -> None:
    """Measure what is missing and write the report."""
    parser = parser_of(__doc__, "distillers")
    parser.add_argument("root", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--experts", type=Path, default=Path("distilled/experts"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/winnow"))
    options: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    splits = open_splits("parquet", options.root, cache=options.cache, validation=0.1, seed=0)
    report: dict[str, Any] = {"distillers": {}}
    if options.output.exists():
        report = json.loads(options.output.read_text(encoding="utf-8"))
    for name in SETTINGS:
        if name not in report["distillers"]:
            report["distillers"][name] = measured(name, splits, options.seconds, options.experts)
            report["provenance"] = provenance("distillers", torch.device("cpu"))
            write_report(options.output, report)
    _show(report, print)


def _show(report: dict[str, Any], say: Callable[[str], None]) -> None:
    for name, found in report["distillers"].items():
        figures = [f"{100 * row['accuracy_mean']:.1f} ± {100 * row['accuracy_std']:.1f}" for row in found["accuracy"]]
        say(f"{name:24s} {found['cost']['seconds']:6.0f} s  " + "  ".join(figures))


if __name__ == "__main__":
    as_a_program(main)
