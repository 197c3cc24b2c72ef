"""What do masks cost in a training, fixed ones and ones that change?

    python -m benchmarks.sparse_training_speed
    python -m benchmarks.sparse_training_speed --device cuda

ConvNet-3 with instance norm on batches of 100 random images, AdamW: steps without a mask (`dense`), with a fixed mask
of 90 % (`masked`), and with one that changes in every step (`gradual`, `rigl`), whose time above that of a masked step
is that of an update. Goals: a masked step takes at most 1.05 dense ones, and an update at most one step at width 128.
Arms take turns in one process; ratios are of medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import (
    as_a_program,
    interleaved,
    provenance,
    ratios,
    seconds_of,
    timing_parser_of,
    write_report,
)
from dp_core.models import ModelSpec, build
from dp_core.pruning import ErdosRenyiKernel, GlobalMagnitude, GradualPruning, Mask, RigL, UpdateWindow, no_examples
from dp_core.training import MaskRule, Recipe, Training, TrainingData

SPARSITY, BATCH = 0.9, 100
STEP_GOAL, UPDATE_GOAL = 1.05, 1.0
EVERY_STEP = UpdateWindow(0.0, 1.0, 1)


def main() -> None:
    """Measure, print a table and write the report."""
    parser = timing_parser_of(__doc__, "sparse_training_speed")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--steps", type=int, default=10, help="a repetition")
    arguments = parser.parse_args()
    rows = [row_of(width, arguments.steps, arguments.repetitions, arguments.device) for width in arguments.widths]
    table = Table("width", "dense step, ms", "masked ÷ dense", "gradual update ÷ step", "RigL update ÷ step")
    for row in rows:
        figures = (row["masked_to_dense"]["of_medians"], row["gradual_update_to_step"], row["rigl_update_to_step"])
        table.add_row(str(row["width"]), f"{1000 * row['dense_step_seconds']:.1f}", *(f"{one:.3f}" for one in figures))
    Console().print(table)
    goals = {"masked_to_dense": STEP_GOAL, "update_to_step_at_width_128": UPDATE_GOAL}
    report = provenance("sparse_training_speed", arguments.device)
    write_report(arguments.output, {**report, "goals": goals, "rows": rows})


def row_of(width: int, steps: int, repetitions: int, device: torch.device) -> dict[str, Any]:
    """Return the figures of one width; what is timed runs in this process, after two steps of each arm."""
    arms = {name: _arm(name, width, steps, repetitions, device) for name in ("dense", "masked", "gradual", "rigl")}
    seconds = {name: [one / steps for one in found] for name, found in interleaved(arms, repetitions).items()}
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    return {
        "width": width,
        "seconds_a_step": seconds,
        "dense_step_seconds": medians["dense"],
        "masked_to_dense": ratios(seconds["masked"], seconds["dense"]),
        "gradual_update_to_step": (medians["gradual"] - medians["masked"]) / medians["dense"],
        "rigl_update_to_step": (medians["rigl"] - medians["masked"]) / medians["dense"],
    }


def _arm(name: str, width: int, steps: int, repetitions: int, device: torch.device) -> Callable[[], float]:
    """Return what times some steps of a training that has warmed up and goes on from call to call."""
    model = build(ModelSpec("convnet", {"depth": 3, "width": width}), (3, 32, 32), 10, seed=0).to(device)
    mask, rule = None, None
    if name != "dense":
        mask, rule = _masked(name, Mask.ones(model), model)
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, 32, 32, generator=draw).to(device)
    data = TrainingData(images, (torch.arange(BATCH) % 10).to(device))
    recipe = Recipe("adamw", steps=2 + steps * repetitions, batch_size=BATCH, learning_rate=1e-3, schedule="constant")
    training = Training(model, data, recipe, seed=0, mask=mask, rule=rule)
    training.run(2)
    return partial(seconds_of, partial(training.run, steps), device)


def _masked(name: str, dense: Mask, model: torch.nn.Module) -> tuple[Mask, MaskRule | None]:
    if name == "gradual":  # removes a few weights a step, all of which are scored and chosen from
        return dense, GradualPruning(SPARSITY, GlobalMagnitude(), EVERY_STEP)
    mask = ErdosRenyiKernel()(model, dense, SPARSITY, torch.Generator().manual_seed(0), no_examples)
    return mask, RigL(EVERY_STEP) if name == "rigl" else None


if __name__ == "__main__":
    as_a_program(main)
