"""Does the mask of a run's best ticket matter? The ticket against random masks of equal sparsity, and dense.

    python benchmarks/random_mask.py runs/quickstart --seeds 3

Every arm starts from the ticket's own rewind weights and trains by the run's retraining recipe; only the mask differs:

    ticket          the mask that the search found
    random          weights drawn uniformly over the whole network, the same sparsity
    erk             weights drawn at random, layers as dense as Erdős–Rényi-Kernel has them, the same sparsity
    layerwise       the ticket's mask shuffled inside each layer, the same number of weights in every layer
    dense           no mask

Each seed draws its own random masks and data order, the same order for all arms, so that what the ticket is ahead by is
paired by seed; its interval is Student's. Writes JSON and prints a table.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student_t

from dp_core.data import Splits
from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError
from dp_core.files import write_json
from dp_core.judging import calibration_images, judge
from dp_core.pruning import CRITERIA, Mask, Ticket, no_examples, shuffle_within_layers
from dp_core.seeds import derive_seed, generator
from dp_core.training import Recipe, Training, TrainingData
from search.config.models import SearchConfig
from search.output.tables import read_rows
from search.runs.checks import splits_of
from search.runs.directory import find_run
from search.runs.record import config_of, read_run

ARMS = ("ticket", "layerwise", "random", "erk", "dense")
CONFIDENCE = 0.95
_CRITERIA = {"random": "random", "erk": "random_erk"}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="path or name of a finished run")
    parser.add_argument("--trial", type=int, help="which ticket (default: that of highest validation accuracy)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="JSON file (default: benchmarks/results/random_mask_<run>.json)")
    arguments = parser.parse_args()

    run = find_run(arguments.run)
    # Chosen on validation images, for the arms are compared on the test images.
    rows = [row for row in read_rows(run.leaderboard) if arguments.trial in (None, row["trial"])]
    if not rows:
        raise UserError(f"The run {run.path.name} has no retrained trial {arguments.trial}.")
    row = max(rows, key=lambda row: row["validation_accuracy"])
    config = config_of(run, read_run(run), SearchConfig)
    splits = splits_of(config)
    ticket = Ticket.load(run.ticket(row["trial"]))
    recipe = config.retrain.parsed_recipe()
    results: dict[str, list[float]] = {arm: [] for arm in ARMS}
    started = time.perf_counter()
    for seed in range(arguments.seeds):
        for arm in ARMS:
            results[arm].append(retrained_accuracy(ticket, mask_of(arm, ticket, seed), splits, recipe, seed))
            print(f"seed {seed} {arm}: {results[arm][-1]:.2%}", file=sys.stderr, flush=True)

    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "run": run.path.name,
        "trial": row["trial"],
        "architecture": ticket.spec.label(),
        "sparsity": ticket.mask.sparsity,
        "source": row["source"],
        "epochs": config.retrain.epochs,
        "training_images": len(splits.train),
        "seconds": round(time.perf_counter() - started, 1),
        "test_accuracy": results,
        "ahead_by": {arm: ahead(results["ticket"], results[arm]) for arm in ARMS if arm != "ticket"},
    }
    output = arguments.output or Path("benchmarks/results") / f"random_mask_{run.path.name}.json"
    write_json(output, report)
    Console().print(table_of(report))
    print(output)


def mask_of(arm: str, ticket: Ticket, seed: int) -> Mask:
    """Return the mask of an arm."""
    dense = Mask({name: torch.ones_like(tensor) for name, tensor in ticket.mask.items()})
    if arm == "ticket":
        return ticket.mask
    if arm == "dense":
        return dense
    draw = generator(seed, "control", arm)
    if arm == "layerwise":
        return shuffle_within_layers(ticket.mask, draw)
    return CRITERIA[_CRITERIA[arm]](ticket.build(dense), dense, ticket.mask.sparsity, draw, no_examples)


def retrained_accuracy(ticket: Ticket, mask: Mask, splits: Splits, recipe: Recipe, seed: int) -> float:
    """Train the ticket's rewind weights under `mask` on the real training images; return test accuracy."""
    space = standardisation_of(splits.train)
    model = ticket.build(mask)
    data = TrainingData(splits.train.images, splits.train.labels, space)
    Training(model, data, recipe, seed=derive_seed(seed, "benchmark"), mask=mask).run()
    test = TrainingData(splits.test.images, splits.test.labels, space)
    return judge(model, test, calibration_images(splits.train, space), recipe).accuracy


def ahead(ticket: Sequence[float], other: Sequence[float]) -> dict[str, float | None]:
    """Return by how much the ticket is ahead, a mean over seeds, with its interval; None with a single seed."""
    differences = [one - two for one, two in zip(ticket, other, strict=True)]
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = student_t.ppf(0.5 + CONFIDENCE / 2, len(differences) - 1) * statistics.stdev(differences)
    half /= len(differences) ** 0.5
    return {"mean": mean, "low": mean - half, "high": mean + half}


def table_of(report: dict[str, Any]) -> Table:
    """Return the arms with mean and standard deviation over seeds, in percent."""
    table = Table(title=f"{report['architecture']} at sparsity {report['sparsity']:.1%}, {report['epochs']} epochs")
    for heading in ("mask", "test accuracy %", "std", "seeds", "ticket ahead by, points"):
        table.add_column(heading, justify="left" if heading == "mask" else "right")
    for arm, accuracies in report["test_accuracy"].items():
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else float("nan")
        cells = [f"{100 * statistics.fmean(accuracies):.2f}", f"{100 * spread:.2f}", str(len(accuracies))]
        table.add_row(arm, *cells, _lead(report["ahead_by"].get(arm)))
    return table


def _lead(found: Mapping[str, float | None] | None) -> str:
    if found is None:
        return ""
    mean, low, high = (found[key] for key in ("mean", "low", "high"))
    assert mean is not None
    interval = "" if low is None or high is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{100 * mean:+.1f}{interval}"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"random_mask.py: {error}")
