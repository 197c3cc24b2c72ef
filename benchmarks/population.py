"""What does training a population of n networks cost, in single trainings?

    python -m benchmarks.population
    python -m benchmarks.population --device cuda --steps 300

ConvNet-3 of several widths, batches of 100 images with DSA augmentation, populations of 1, 2, 4 and 8:

    single     one `Training` alone, fused on a CPU, a CUDA graph on a GPU
    in_turn    `Population` with the strategy of that name: the same, one member after the other
    batched    `Population` with parameters stacked and the network mapped over them (torch.func.vmap), as a CUDA graph
               on a GPU

each in float32 and in bfloat16. The gain is n single trainings ÷ the population, of the same precision: above 1, the
population is worth it. A run of --steps steps is timed, after two others; what `batched` does at the start of each run
(stacking, a trial step, on a GPU the capture) is part of it. Every repetition is a process of its own for each width,
which measures all arms in turn, a single training beside every population; gains are ratios of medians.

To show why, the convolution in which most of the work is (the second layer) is measured alone: n single ones against
one of n groups, which is what vmap makes of them: output, gradient of the input, gradient of the weight.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.measuring import (
    alone,
    as_a_program,
    interleaved,
    provenance,
    seconds_of,
    timing_parser_of,
    write_report,
)
from dp_core.kernels import block_library
from dp_core.models import ModelSpec, build
from dp_core.training import Population, Recipe, Training, TrainingData

CLASSES, WARM_UP = 10, 2
GOAL = {"cuda": 3.0}
PRECISIONS: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
STRATEGIES: tuple[Literal["in_turn", "batched"], ...] = ("in_turn", "batched")
PARTS = ("output", "input gradient", "weight gradient")


@dataclass(frozen=True)
class Settings:
    """What all arms have in common."""

    members: tuple[int, ...]
    batch_size: int
    steps: int
    calls: int
    side: int
    device: str


def main() -> None:
    """Measure trainings and convolutions."""
    parser = timing_parser_of(__doc__, "population")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--calls", type=int, default=10, help="of each convolution")
    parser.add_argument("--side", type=int, default=32, help="of the images, in pixels")
    arguments = parser.parse_args()
    block_library()  # compiled before anything is timed
    settings = settings_of(arguments)
    arms = {f"width {width}": partial(alone, measure, settings, width) for width in arguments.widths}
    found = interleaved(arms, arguments.repetitions)
    goal = GOAL.get(arguments.device.type)
    report: dict[str, Any] = {**provenance("population", arguments.device), "goal": goal, "steps": arguments.steps}
    report["widths"] = [
        {"width": width, **compared(settings, rounds)}
        for width, rounds in zip(arguments.widths, found.values(), strict=True)
    ]
    for table in tables_of(report["widths"]):
        Console().print(table)
    write_report(arguments.output, report)


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the options that every arm needs."""
    members = tuple(arguments.members)
    device = str(arguments.device)
    return Settings(members, arguments.batch_size, arguments.steps, arguments.calls, arguments.side, device)


def measure(settings: Settings, width: int) -> dict[str, dict[str, float]]:
    """Return the seconds of every training and of every convolution of one width, by arm.

    The number in an arm's name is that of the members; for `single`, of the population it stands beside.
    """
    trainings = {}
    for precision in PRECISIONS:
        for members in settings.members:
            trainings[f"{precision} single {members}"] = seconds_of_single(settings, width, precision)
            for strategy in STRATEGIES:
                seconds = seconds_of_population(settings, width, precision, members, strategy)
                trainings[f"{precision} {strategy} {members}"] = seconds
    convolutions = {}
    for precision in PRECISIONS:
        for members in settings.members:
            for part, pair in convolution_calls(settings, width, precision, members).items():
                for name, call in pair.items():
                    convolutions[f"{precision} {part} {name} {members}"] = seconds_of_calls(call, settings)
    return {"trainings": trainings, "convolutions": convolutions}


def training_of(settings: Settings, width: int, precision: Literal["float32", "bfloat16"], seed: int) -> Training:
    """Return a training on one batch of random images, augmented anew at every step."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(settings.batch_size, 3, settings.side, settings.side, generator=draw)
    labels = torch.randint(0, CLASSES, (settings.batch_size,), generator=draw)
    data = TrainingData(images, labels).to(torch.device(settings.device))
    spec = ModelSpec("convnet", {"depth": 3, "width": width})
    model = build(spec, (3, settings.side, settings.side), CLASSES, seed=seed).to(settings.device)
    recipe = Recipe(
        steps=WARM_UP + settings.steps,
        batch_size=settings.batch_size,
        augmentation="siamese",
        schedule="half_step",
        precision=precision,
    )
    return Training(model, data, recipe, seed=seed, mask=None)


def seconds_of_single(settings: Settings, width: int, precision: Literal["float32", "bfloat16"]) -> float:
    """Return how long one training takes alone."""
    training = training_of(settings, width, precision, seed=0)
    training.run(WARM_UP)
    return seconds_of(training.run, torch.device(settings.device))


def seconds_of_population(
    settings: Settings,
    width: int,
    precision: Literal["float32", "bfloat16"],
    members: int,
    strategy: Literal["in_turn", "batched"],
) -> float:
    """Return how long `members` trainings take together.

    Raises:
        RuntimeError: they were done with another strategy than was asked for.
    """
    trainings = [training_of(settings, width, precision, seed) for seed in range(members)]
    population = Population(trainings, strategy=strategy)
    population.run(WARM_UP)
    seconds = seconds_of(population.run, torch.device(settings.device))
    if population.strategy != strategy:
        raise RuntimeError(f"A population of {members} was done {population.strategy} instead of {strategy}.")
    return seconds


def convolution_calls(
    settings: Settings, width: int, precision: Literal["float32", "bfloat16"], members: int
) -> dict[str, dict[str, Callable[[], object]]]:
    """Return, for each part of a convolution's work, the calls that do it for `members` networks.

    Images and weights of all networks lie side by side in the channels of the grouped one. Float32 tensors are
    contiguous and bfloat16 ones channels-last, as the engine has them.
    """
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    layout = torch.channels_last if precision == "bfloat16" else torch.contiguous_format
    side = settings.side // 2
    draw = torch.Generator().manual_seed(0)

    def tensor(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw).to(settings.device, dtype).contiguous(memory_format=layout)

    one = (tensor(settings.batch_size, width, side, side), tensor(width, width, 3, 3))
    grouped = (
        tensor(settings.batch_size, members * width, side, side),
        tensor(members * width, width, 3, 3),
    )

    def forward(images: Tensor, weight: Tensor, groups: int, times: int) -> None:
        for _ in range(times):
            F.conv2d(images, weight, padding=1, groups=groups)

    def backward(images: Tensor, weight: Tensor, groups: int, times: int, wanted: Sequence[bool]) -> None:
        # A convolution of this kind has an output of its input's shape, which serves as the output's gradient.
        for _ in range(times):
            torch.ops.aten.convolution_backward(
                images, images, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], groups, list(wanted)
            )

    parts: dict[str, Callable[..., None]] = {
        "output": forward,
        "input gradient": partial(backward, wanted=(True, False, False)),
        "weight gradient": partial(backward, wanted=(False, True, False)),
    }
    return {
        part: {
            "single": partial(parts[part], *one, 1, members),
            "grouped": partial(parts[part], *grouped, members, 1),
        }
        for part in PARTS
    }


def seconds_of_calls(call: Callable[[], object], settings: Settings) -> float:
    """Return the mean time of a call, after one to warm up."""
    call()
    return seconds_of(lambda: [call() for _ in range(settings.calls)], torch.device(settings.device)) / settings.calls


def compared(settings: Settings, rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Return every repetition of a width, the medians, and the gains by precision, strategy or part, and members."""
    seconds = {
        kind: {arm: [each[kind][arm] for each in rounds] for arm in rounds[0][kind]}
        for kind in ("trainings", "convolutions")
    }
    medians = {kind: {arm: statistics.median(each) for arm, each in arms.items()} for kind, arms in seconds.items()}
    trainings, convolutions = medians["trainings"], medians["convolutions"]
    return {
        "seconds": seconds,
        "median_seconds": medians,
        "gain": {
            f"{precision} {strategy}": {
                str(n): n * trainings[f"{precision} single {n}"] / trainings[f"{precision} {strategy} {n}"]
                for n in settings.members
            }
            for precision in PRECISIONS
            for strategy in STRATEGIES
        },
        "gain_of_grouping": {
            f"{precision} {part}": {
                str(n): convolutions[f"{precision} {part} single {n}"] / convolutions[f"{precision} {part} grouped {n}"]
                for n in settings.members
            }
            for precision in PRECISIONS
            for part in PARTS
        },
    }


def tables_of(widths: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Return the gains of populations and of grouped convolutions, a column for each number of members."""
    tables = []
    for key, title in (
        ("gain", "n single trainings ÷ population of n"),
        ("gain_of_grouping", "n convolutions ÷ one of n groups"),
    ):
        members = list(next(iter(widths[0][key].values())))
        table = Table("width", "arm", *[f"n = {n}" for n in members], title=title)
        for width in widths:
            for arm, gains in width[key].items():
                table.add_row(str(width["width"]), arm, *[f"{gains[n]:.2f}" for n in members])
        tables.append(table)
    return tables


if __name__ == "__main__":
    as_a_program(main)
