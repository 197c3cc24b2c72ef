"""How fast is training, against a loop written the usual way and against the network's products alone?

    python -m benchmarks.engine_speed

ConvNet-3 of width 128 and the paper's AlexNet train on random images of CIFAR-10's shape in batches of 256, without
augmentation, in every mode of `winnow bench engine`, each in a process of its own, the modes taking turns, five times:

    usual     eager float32, stock torch and nothing of the engine (dp_core/bench/usual.py)
    eager     the engine's loop around the network as it is written
    fused     the engine's choice on CPUs: norm, activation and pooling in one pass, bfloat16 where the CPU has AMX
    compiled  the engine's loop around torch.compile; its warm-up is not in the speed but beside it

The ratios are of images per second, repetition by repetition and of the medians. `share_of_ceiling` is the time of the
same convolutions and linear layers alone, at the same shapes and in the same format, divided by that of a whole step.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import as_a_program, interleaved, parser_of, provenance, ratios, write_report
from dp_core.bench.speed_process import measure_in_process
from dp_core.bench.workload import Workload
from dp_core.device import default_device
from dp_core.models import ModelSpec

MODELS = {"ConvNet-3 w128": ModelSpec("convnet", {"depth": 3, "width": 128}), "AlexNet": ModelSpec("alexnet")}
GOALS = {"ConvNet-3 w128": 7.0, "AlexNet": 6.0}
CEILING_GOAL = 0.6


def main() -> None:
    """Run the benchmark."""
    arguments = parse()
    report = provenance("engine_speed", default_device())
    report["batch_size"] = arguments.batch_size
    report["models"] = {name: compared(measured(MODELS[name], arguments), GOALS.get(name)) for name in arguments.models}
    Console().print(table_of(report["models"]))
    write_report(arguments.output, report)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = parser_of(__doc__, "engine_speed")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--modes", nargs="+", default=["usual", "eager", "fused", "compiled"])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--repetitions", type=int, default=5)
    return parser.parse_args(argv)


def measured(model: ModelSpec, arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Return the repetitions of every mode."""
    arms = {mode: partial(measure, model, mode, arguments.batch_size, arguments.images) for mode in arguments.modes}
    return interleaved(arms, arguments.repetitions)


def measure(model: ModelSpec, mode: str, batch_size: int, images: int) -> dict[str, Any]:
    """Measure one mode in a process of its own."""
    workload = Workload(
        model, mode, batch_size=batch_size, images=images, repetitions=3, threads=torch.get_num_threads()
    )
    return asdict(measure_in_process(workload))


def compared(rows: Mapping[str, list[dict[str, Any]]], goal: float | None) -> dict[str, Any]:
    """Return medians, ratios to the usual loop, and the repetitions."""
    seconds = {mode: [1 / row["images_per_second"] for row in found] for mode, found in rows.items()}
    usual = seconds.get("usual")
    medians = {
        mode: {key: statistics.median(row[key] for row in found) for key in _FIGURES} for mode, found in rows.items()
    }
    return {
        "median": medians,
        "faster_than_usual": {} if usual is None else {mode: ratios(usual, own) for mode, own in seconds.items()},
        "goal": goal,
        "goal_share_of_ceiling": CEILING_GOAL,
        "repetitions": dict(rows),
    }


_FIGURES = (
    "images_per_second",
    "steps_per_second",
    "share_of_ceiling",
    "flops_per_second",
    "ceiling_flops_per_second",
    "peak_memory_bytes",
    "warm_up_seconds",
    "share_data",
    "share_forward",
    "share_backward",
    "share_optimizer",
    "share_evaluation",
)


def table_of(models: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the medians."""
    table = Table(title="Training, images of 32×32")
    for heading in ("network", "mode", "images/s", "× usual", "of ceiling", "warm-up s", "GiB"):
        table.add_column(heading, justify="left" if heading in ("network", "mode") else "right")
    for name, found in models.items():
        for mode, row in found["median"].items():
            ratio = found["faster_than_usual"].get(mode)
            table.add_row(
                name,
                mode,
                f"{row['images_per_second']:,.0f}",
                "-" if ratio is None else f"{ratio['of_medians']:.2f}",
                f"{row['share_of_ceiling']:.2f}",
                f"{row['warm_up_seconds']:.1f}",
                f"{row['peak_memory_bytes'] / 2**30:.2f}",
            )
    return table


if __name__ == "__main__":
    as_a_program(main)
