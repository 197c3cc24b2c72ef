"""What does the driver cost, as a search grows to 10,000 trials?

    python -m benchmarks.driver_scale

Trials of one second, which only sleep and then answer from a formula, run on 16 logical CPUs through all that a real
search has: proposals, the study's journal, Tune, checkpoints, tickets, TensorBoard, tables and report. Ideal is the
number of trials divided by 16; all beyond is overhead, the start of Ray's 16 workers included. Trials are of one round,
or of four rounds of a quarter of a second each, and none is stopped early.

Every search is a process of its own. A point is written into the result as soon as it is measured, and one that is
there is not measured again (but with --again), so that the script can be interrupted. The machine should have nothing
else to do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.driver_point import Point, measure
from benchmarks.growth_panel import Points, growth_panel
from benchmarks.measuring import alone, as_a_program, parser_of, provenance, write_report
from dp_core.files import write_text
from search.cli.environment import prepare_environment
from search.output.drawing import save
from search.output.numbers import plural
from search.output.panels import Panel
from search.output.sheet import Sheet

TRIALS, ROUNDS, CONCURRENCY = (100, 300, 1_000, 3_000, 10_000), (1, 4), 16
PARTS = ("study.propose", "study.report", "study.finish", "tickets", "tensorboard", "tables", "report", "reopening")


def main() -> None:
    """Measure the points that are missing, and write and draw all."""
    parser = parser_of(__doc__, "driver_scale")
    parser.add_argument("--trials", type=int, nargs="+", default=list(TRIALS))
    parser.add_argument("--rounds", type=int, nargs="+", default=list(ROUNDS))
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    parser.add_argument("--sampler", default="auto")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    arguments = parser.parse_args()
    prepare_environment()
    found = known_points(arguments.output)
    for point in points_of(arguments):
        if point in found and not arguments.again:
            continue
        found[point] = alone(measure, point)
        Console(stderr=True).print(f"{point}: {found[point]['overhead']:.1%} over the ideal")
        write_all(arguments.output, found)
    write_all(arguments.output, found)


def points_of(arguments: argparse.Namespace) -> list[Point]:
    """Return the searches asked for, small ones first."""
    return [
        Point(trials, rounds, arguments.concurrency, arguments.sampler)
        for trials in sorted(arguments.trials)
        for rounds in arguments.rounds
    ]


def known_points(output: Path) -> dict[Point, dict[str, Any]]:
    """Return the points that a result has, none if there is no result."""
    if not output.exists():
        return {}
    points = json.loads(output.read_text(encoding="utf-8"))["points"]
    return {Point(*(point[name] for name in ("trials", "rounds", "concurrency", "sampler"))): point for point in points}


def write_all(output: Path, found: dict[Point, dict[str, Any]]) -> None:
    """Write the result, the table and the figure."""
    points = sorted(found.values(), key=lambda point: (point["rounds"], point["trials"]))
    write_report(output, {**provenance("driver_scale", torch.device("cpu")), "points": points})
    save(panels_of(points), output.with_suffix(".svg"))
    write_text(output.with_suffix(".md"), page_of(points))


def panels_of(points: Sequence[dict[str, Any]]) -> list[Panel]:
    """Return time, memory, the driver's own work, and the size of the journal against trials."""

    def by_rounds(value: Any) -> dict[str, Points]:
        return {
            f"{plural(rounds, 'round')} a trial": [
                (point["trials"], value(point)) for point in points if point["rounds"] == rounds
            ]
            for rounds in sorted({point["rounds"] for point in points})
        }

    ideal = sorted({(point["trials"], point["ideal_seconds"]) for point in points})
    single = [point for point in points if point["rounds"] == points[0]["rounds"]]
    parts = {
        name: [(point["trials"], point["seconds_of"][name]) for point in single]
        for name in ("study.propose", "tickets", "tables", "report")
    }
    seconds = {**by_rounds(lambda point: point["seconds"]), "ideal": ideal}
    return [
        growth_panel("Time", "trials", "seconds", seconds),
        growth_panel("Memory of the driver", "trials", "MiB", by_rounds(lambda point: point["peak_driver_mib"])),
        growth_panel("Work of the driver", "trials", "seconds in all", parts),
        growth_panel("Journal", "trials", "bytes", by_rounds(lambda point: point["bytes"]["study.journal"])),
    ]


def page_of(points: Sequence[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    wall = [
        [
            f"{point['trials']:,}", str(point["rounds"]), f"{point['ideal_seconds']:.0f}", f"{point['seconds']:.0f}",
            f"{point['overhead']:.1%}", f"{point['steady_overhead']:.1%}", f"{point['first_start_seconds']:.0f}",
            f"{point['peak_driver_mib']:.0f}", f"{point['bytes']['study.journal'] / 2**20:.1f}",
        ]
        for point in points
    ]  # fmt: skip
    work = [
        [
            f"{point['trials']:,}", str(point["rounds"]),
            *(f"{1000 * point['seconds_of'][name] / point['trials']:.2f}" for name in PARTS),
            *(f"{point['cpu_ms_a_trial'].get(name, 0):.1f}" for name in ("driver", "worker", "raylet", "gcs_server")),
        ]
        for point in points
    ]  # fmt: skip
    return (
        "# What the driver costs, as a search grows\n\n"
        "Trials of one second on 16 logical CPUs; made by `python -m benchmarks.driver_scale`, which says how.\n\n"
        + Sheet(
            ["trials", "rounds", "ideal s", "s", "over ideal", "over ideal, steady", "first start s",
             "driver MiB", "journal MiB"], wall,
        ).markdown()
        + "\nSteady is between the tenth and the ninetieth percent of the trials, when no worker starts or ends.\n\n"
        "Milliseconds a trial: time that passes in the driver by part, then processor time by process.\n\n"
        + Sheet(["trials", "rounds", *PARTS, "driver", "worker", "raylet", "gcs"], work).markdown()
    )  # fmt: skip


if __name__ == "__main__":
    as_a_program(main)
