"""How does the time of a training grow with images, epochs, width and the size of a population: linearly or better?

    python -m benchmarks.growth

One of the four at a time is varied around a base, a ConvNet-3 of width 64 on 2,000 images for 2 epochs in batches of
128, and the time of the whole training, `Training` built included, is measured. Populations have networks of width 16.
For each series the exponent b of seconds ~ x^b is fitted by least squares in double logarithms, over all points and
over the last three, where what a training costs once weighs least: 1 is linear. A network's work grows with the square
of its width, so for width x is its floating-point operations an image, forward and backward, as torch counts them.

Images are random bytes with random labels (what they show changes nothing in the time), augmented by flip_crop. Every
repetition is a process of its own that measures all points in turn, each after two steps of the same shape to warm up.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.growth_panel import growth_panel
from benchmarks.measuring import (
    alone,
    as_a_program,
    interleaved,
    provenance,
    seconds_of,
    timing_parser_of,
    write_report,
)
from dp_core.data.preprocessing import Standardisation
from dp_core.kernels import block_library
from dp_core.models import ModelSpec, build
from dp_core.training import Population, Recipe, Training, TrainingData
from search.output.drawing import save
from search.output.panels import Panel

CLASSES = 10
LAST = 3  # points of the second fit


@dataclass(frozen=True)
class Point:
    """One training, or one population of them."""

    images: int
    epochs: int
    width: int
    batch_size: int
    side: int
    members: int = 1
    strategy: Literal["in_turn", "batched"] = "in_turn"

    def network(self, seed: int = 0) -> nn.Module:
        """Return an untrained network."""
        spec = ModelSpec("convnet", {"depth": 3, "width": self.width})
        return build(spec, (3, self.side, self.side), CLASSES, seed=seed)


def main() -> None:
    """Measure all series, and draw them."""
    parser = timing_parser_of(__doc__, "growth")
    parser.add_argument("--images", type=int, nargs="+", default=[500, 1000, 2000, 4000, 8000])
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--base", type=int, nargs=3, default=[2000, 2, 64], metavar=("IMAGES", "EPOCHS", "WIDTH"))
    parser.add_argument("--population-width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--side", type=int, default=32, help="of the images, in pixels")
    parser.add_argument("--figure", type=Path, help="SVG file (default: beside --output, of the same name)")
    arguments = parser.parse_args()
    block_library()  # compiled before anything is timed
    series = series_of(arguments)
    points = list(dict.fromkeys(point for points in series.values() for point in points))
    rounds = interleaved({"all points": partial(alone, measure, points, str(arguments.device))}, arguments.repetitions)[
        "all points"
    ]
    seconds = {point: [each[index] for each in rounds] for index, point in enumerate(points)}
    fitted = {name: fit(name, points, seconds) for name, points in series.items()}
    Console().print(table_of(fitted))
    figure = arguments.figure or arguments.output.with_suffix(".svg")
    save(panels_of(fitted), figure)
    print(figure)
    write_report(arguments.output, {**provenance("growth", arguments.device), "series": fitted})


def series_of(arguments: argparse.Namespace) -> dict[str, list[Point]]:
    """Return the points of every series: one thing varied around the base."""
    images, epochs, width = arguments.base
    base = Point(images, epochs, width, arguments.batch_size, arguments.side)
    small = replace(base, width=arguments.population_width)
    return {
        "images": [replace(base, images=value) for value in arguments.images],
        "epochs": [replace(base, epochs=value) for value in arguments.epochs],
        "width": [replace(base, width=value) for value in arguments.widths],
        "members in_turn": [replace(small, members=value) for value in arguments.members],
        "members batched": [replace(small, members=value, strategy="batched") for value in arguments.members],
    }


def measure(points: Sequence[Point], device: str) -> list[float]:
    """Return the seconds of each point, measured one after the other in this process."""
    return [measure_point(point, torch.device(device)) for point in points]


def measure_point(point: Point, device: torch.device) -> float:
    """Return the seconds from the building of the networks to the end of their training."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (point.images, 3, point.side, point.side), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (point.images,), generator=draw)
    data = TrainingData(pixels, labels, Standardisation((0.5,) * 3, (0.25,) * 3)).to(device)
    recipe = Recipe(epochs=point.epochs, batch_size=point.batch_size, augmentation="flip_crop", learning_rate=0.01)

    def train(recipe: Recipe) -> None:
        members = [
            Training(point.network(seed).to(device), data, recipe, seed=seed, mask=None)
            for seed in range(point.members)
        ]
        population = Population(members, strategy=point.strategy)
        population.run()
        if population.strategy != point.strategy:
            raise RuntimeError(f"A population of {point} was done {population.strategy}.")

    train(replace(recipe, epochs=None, steps=2))
    return seconds_of(lambda: train(recipe), device)


def flops_of_image(point: Point) -> float:
    """Return the floating-point operations of one image, forward and backward, in convolutions and linear layers."""
    model, images = point.network(), 2
    with FlopCounterMode(display=False) as counter:
        logits = model(torch.zeros(images, 3, point.side, point.side))
        F.cross_entropy(logits, torch.zeros(images, dtype=torch.int64)).backward()
    return float(counter.get_total_flops()) / images


def fit(name: str, points: Sequence[Point], seconds: dict[Point, list[float]]) -> dict[str, Any]:
    """Return the points of a series with their repetitions and medians, and how the medians grow."""
    x = [float(getattr(point, name.split()[0])) for point in points]
    medians = [statistics.median(seconds[point]) for point in points]
    result: dict[str, Any] = {
        "points": [{**asdict(point), "seconds": seconds[point]} for point in points],
        "x": x,
        "median_seconds": medians,
    }
    if name == "width":
        result["exponent_against_width"] = exponent(x, medians)
        result["flops_per_image"] = x = [flops_of_image(point) for point in points]
    result["exponent"] = exponent(x, medians)
    result[f"exponent_of_last_{LAST}"] = exponent(x[-LAST:], medians[-LAST:])
    return result


def exponent(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return b of y = a · x^b, fitted by least squares of log y on log x; None where x has one value."""
    if len(set(x)) < 2:
        return None
    return statistics.linear_regression([math.log(value) for value in x], [math.log(value) for value in y]).slope


def panels_of(fitted: dict[str, dict[str, Any]]) -> list[Panel]:
    """Return the four panels: images, epochs, work (named by the widths that it belongs to), populations."""

    def panel(title: str, x_label: str, series: dict[str, str], x: str = "x", **more: Any) -> Panel:
        points = {}
        for name, label in series.items():
            slope = fitted[name]["exponent"]
            told = f"{label}exponent {'–' if slope is None else f'{slope:.2f}'}"
            points[told] = list(zip(fitted[name][x], fitted[name]["median_seconds"], strict=True))
        return growth_panel(title, x_label, "seconds", points, **more)

    width = fitted["width"]
    names = [(work, f"{value:.0f}") for work, value in zip(width["flops_per_image"], width["x"], strict=True)]
    members = {f"members {strategy}": f"{strategy}: " for strategy in ("in_turn", "batched")}
    return [
        panel("Images", "training images", {"images": ""}),
        panel("Epochs", "epochs", {"epochs": ""}),
        panel("Width", "width, at its FLOPs of an image", {"width": ""}, "flops_per_image", names=names),
        panel("Population", "members", members),
    ]


def table_of(fitted: dict[str, dict[str, Any]]) -> Table:
    """Return range and exponents of each series."""
    table = Table("series", "from", "to", "seconds", "exponent", f"of the last {LAST}", title="Seconds ~ x^exponent")
    for name, values in fitted.items():
        medians = values["median_seconds"]
        slopes = [values["exponent"], values[f"exponent_of_last_{LAST}"]]
        table.add_row(
            f"{name} (against FLOPs)" if name == "width" else name,
            f"{values['x'][0]:g}",
            f"{values['x'][-1]:g}",
            f"{medians[0]:.2f} – {medians[-1]:.2f}",
            *["–" if slope is None else f"{slope:.2f}" for slope in slopes],
        )
    return table


if __name__ == "__main__":
    as_a_program(main)
