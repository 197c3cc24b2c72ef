"""How much faster is the engine at training on distilled images than the loop that published code has?

    python -m benchmarks.distilled_epochs

A ConvNet-3 of width 128 with instance norm learns 500 images (50 of each class; and 100, 10 of each) of 32×32 for 100
epochs: full batches, SGD with momentum 0.9 and weight decay 5e-4, a tenth of the rate from half time on. The images
are random real ones in float, as distilled sets are; what they show changes nothing in the time.

    engine    `Training` on all 100 epochs, building network and training included
    usual     benchmarks/usual_loop.py: eager float32, augmentation whose parameters are drawn image by image. One epoch
              to warm up, then --usual-epochs are timed; the time of 100 is in proportion

Every arm runs in a process of its own, in turn, five times; the ratio is that of the medians. Two things that happen
once belong to neither arm: compiling the engine's kernels (for a machine), and what torch imports when the first
optimiser is made (for a process, a second; told as seconds_of_imports, and past when the usual loop is warm). On a GPU
(--device cuda) the engine, too, is warmed up first, and the figure to look at is steps a second.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import usual_loop
from benchmarks.measuring import (
    alone,
    as_a_program,
    interleaved,
    provenance,
    ratios,
    seconds_of,
    timing_parser_of,
    write_report,
)
from dp_core.data import open_train_test
from dp_core.distillation import DistilledSet, RandomImages
from dp_core.kernels import block_library, keep_freed_memory
from dp_core.models import ModelSpec, build
from dp_core.training import Recipe, Training, TrainingData

GOALS = {"cpu": 8.0, "cuda": 20.0}


@dataclass(frozen=True)
class Case:
    """What both arms train."""

    images_per_class: int
    width: int
    epochs: int
    usual_epochs: int
    batch_size: int
    learning_rate: float
    device: str
    data: Path
    cache: Path

    def distilled(self) -> DistilledSet:
        """Return the images."""
        train, _ = open_train_test("parquet", self.data, cache=self.cache)
        return RandomImages().distill(train, self.images_per_class, 0)

    def network(self, images: DistilledSet) -> nn.Module:
        """Return the network, untrained, on the device."""
        spec = ModelSpec("convnet", {"depth": 3, "width": self.width, "norm": "instance"})
        channels, height, width = images.images.shape[1:]
        return build(spec, (channels, height, width), len(images.class_names), seed=0).to(self.device)


def main() -> None:
    """Measure both arms at each number of images."""
    parser = timing_parser_of(__doc__, "distilled_epochs")
    parser.add_argument("--images-per-class", type=int, nargs="+", default=[50, 10])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--usual-epochs", type=int, default=10, help="of these, how many the usual loop is timed for")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--data", type=Path, default=Path("assets/cifar10-mini"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/winnow"))
    arguments = parser.parse_args()
    block_library()  # compiled before anything is timed
    cases = [case_of(arguments, count) for count in arguments.images_per_class]
    arms = {f"{arm} {case.images_per_class}": partial(alone, MEASURES[arm], case) for case in cases for arm in MEASURES}
    found = interleaved(arms, arguments.repetitions)
    rows = [compared(case, *(found[f"{arm} {case.images_per_class}"] for arm in MEASURES)) for case in cases]
    Console().print(table_of(rows))
    write_report(arguments.output, {**provenance("distilled_epochs", arguments.device), "cases": rows})


def case_of(arguments: argparse.Namespace, images_per_class: int) -> Case:
    """Return the case that the options describe."""
    return Case(
        images_per_class,
        arguments.width,
        arguments.epochs,
        arguments.usual_epochs,
        arguments.batch_size,
        arguments.learning_rate,
        str(arguments.device),
        arguments.data,
        arguments.cache,
    )


def measure_engine(case: Case) -> dict[str, Any]:
    """Train all epochs with the engine."""
    images = case.distilled()
    device = torch.device(case.device)
    data = TrainingData(images.images, images.labels).to(device)
    recipe = Recipe(
        learning_rate=case.learning_rate,
        momentum=0.9,
        weight_decay=5e-4,
        epochs=case.epochs,
        batch_size=case.batch_size,
        augmentation="siamese",
        schedule="half_step",
    )
    trainings: list[Training] = []

    def train(steps: int | None) -> None:
        trainings.append(Training(case.network(images), data, recipe, seed=0, mask=None))
        trainings[-1].run(steps)

    seconds_of_imports = seconds_of(import_all_of_torch, device)
    if device.type == "cuda":  # starts the device and its libraries
        train(5)
    seconds = seconds_of(lambda: train(None), device)
    network = trainings[-1].network
    how = {"mode": network.mode, "bfloat16": network.bfloat16, "seconds_of_imports": seconds_of_imports}
    return {**how, **timed(case, len(data), case.epochs, seconds)}


def import_all_of_torch() -> None:
    """Let torch import what it imports when a process makes its first optimiser."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 0.1)
    parameter.sum().backward()
    optimizer.step()


def measure_usual(case: Case) -> dict[str, Any]:
    """Train some epochs with the usual loop.

    Raises:
        RuntimeError: the engine's way with memory was set in this process, which a usual loop does not have.
    """
    images = case.distilled()
    device = torch.device(case.device)
    model = case.network(images)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True  # as those networks are written
    train = partial(
        usual_loop.train,
        model,
        images.images,
        images.labels,
        learning_rate=case.learning_rate,
        batch_size=case.batch_size,
    )
    train(epochs=1)
    seconds = seconds_of(lambda: train(epochs=case.usual_epochs), device)
    if keep_freed_memory.cache_info().currsize:
        raise RuntimeError("The usual loop ran with the engine's memory settings.")
    return {"mode": "usual", "bfloat16": False, **timed(case, len(images.images), case.usual_epochs, seconds)}


MEASURES = {"engine": measure_engine, "usual": measure_usual}


def timed(case: Case, images: int, epochs: int, seconds: float) -> dict[str, Any]:
    """Return the time of `epochs`, the time of all in proportion, and the speed."""
    steps = epochs * -(-images // case.batch_size)
    return {
        "images": images,
        "timed_epochs": epochs,
        "timed_seconds": seconds,
        "seconds": seconds * case.epochs / epochs,
        "steps_per_second": steps / seconds,
        "images_per_second": epochs * images / seconds,
    }


def compared(case: Case, engine: list[dict[str, Any]], usual: list[dict[str, Any]]) -> dict[str, Any]:
    """Return every repetition of a case, the medians and the ratios."""
    seconds = {name: [each["seconds"] for each in found] for name, found in (("engine", engine), ("usual", usual))}
    speeds = {
        name: [each["steps_per_second"] for each in found] for name, found in (("engine", engine), ("usual", usual))
    }
    return {
        "images": engine[0]["images"],
        "settings": {key: value for key, value in asdict(case).items() if key not in ("data", "cache")},
        "repetitions": {"engine": engine, "usual": usual},
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "median_steps_per_second": {name: statistics.median(values) for name, values in speeds.items()},
        "usual_seconds_are": f"{case.usual_epochs} epochs timed after one to warm up, scaled to {case.epochs}",
        "usual_to_engine": ratios(seconds["usual"], seconds["engine"]),
        "goal": GOALS.get(torch.device(case.device).type),
    }


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Return the medians."""
    table = Table(title="Training on distilled images")
    for heading in ("images", "epochs", "engine s", "usual s", "engine steps/s", "usual steps/s", "ratio", "goal"):
        table.add_column(heading, justify="right")
    for row in rows:
        seconds, speed, ratio = row["median_seconds"], row["median_steps_per_second"], row["usual_to_engine"]
        table.add_row(
            str(row["images"]),
            str(row["settings"]["epochs"]),
            f"{seconds['engine']:.2f}",
            f"{seconds['usual']:.1f}",
            f"{speed['engine']:.2f}",
            f"{speed['usual']:.2f}",
            f"{ratio['of_medians']:.1f}×",
            f"≥ {row['goal']:g}×" if row["goal"] else "–",
        )
    return table


if __name__ == "__main__":
    as_a_program(main)
