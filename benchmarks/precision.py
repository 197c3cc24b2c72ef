"""Does training in fused blocks of bfloat16 end at the accuracy of plain float32, within noise?

    python -m benchmarks.precision

Networks train on the real images of assets/cifar10-mini by the quickstart's recipe for retraining (15 epochs of AdamW,
one cycle, flip and crop) and are tested on its test images, once each in these ways:

    float32 eager     as the network is written; what the others are compared with
    float32 fused     the same numbers in another order: how far rounding alone takes a training
    bfloat16 fused    what `auto` takes on a CPU with AMX

The ways are paired: a seed gives all of them the same initial weights, order of images and augmentation, and each
network is tested the way it was trained. For each network: mean and standard deviation of the accuracy over the seeds,
and the mean difference from float32 eager with its 95 % t interval. Within noise means that the interval contains 0 and
that the mean difference is below one point. (Of a dozen such intervals, one may well miss 0 by chance.)

What is done is written after every training, and a script that is started again with the same output and settings goes
on from there; --networks and --seeds may be extended that way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import as_a_program, parser_of, provenance, seconds_of, write_report
from benchmarks.pairs import difference, mean_and_std
from dp_core.data import ImageDataset, open_train_test
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError, nearest
from dp_core.files import write_json
from dp_core.models import ModelSpec, build
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, Training, TrainingData
from dp_core.training.evaluation import evaluation_mode

REFERENCE = "float32 eager"
WAYS: Mapping[str, dict[str, Any]] = {
    REFERENCE: {"precision": "float32", "mode": "eager"},
    "float32 fused": {"precision": "float32", "mode": "fused"},
    "bfloat16 fused": {"precision": "bfloat16", "mode": "fused"},
}
NORMS = ("instance", "batch", "layer", "none", "group")
CPU = torch.device("cpu")  # fused blocks are for CPUs
RECIPE = Recipe(
    optimizer="adamw",
    learning_rate=5e-3,
    weight_decay=1e-2,
    schedule="one_cycle",
    batch_size=100,
    augmentation="flip_crop",
    epochs=15,
)

Record = dict[str, Any]


@dataclass(frozen=True)
class Network:
    """An architecture and how to train it."""

    spec: ModelSpec
    recipe: Recipe


@dataclass(frozen=True)
class Images:
    """What all networks train on and are tested on."""

    train: ImageDataset
    test: ImageDataset
    space: Standardisation

    def settings(self) -> dict[str, Any]:
        """Return what tells these images from others."""
        return {"train": self.train.digest, "test": self.test.digest}


def main() -> None:
    """Train what is not in the output file yet, and compare."""
    parser = parser_of(__doc__, "precision")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=[*NORMS, "alexnet"], help="norms of a ConvNet-3, or alexnet")
    parser.add_argument("--width", type=int, default=32, help="of the ConvNets")
    parser.add_argument("--epochs", type=float, default=15.0)
    parser.add_argument("--alexnet-epochs", type=float, default=5.0)
    parser.add_argument("--alexnet-learning-rate", type=float, default=1e-3, help="lower, as it has no norm layers")
    parser.add_argument("--images", type=int, help="training images (default: all)")
    parser.add_argument("--data", type=Path, default=Path("assets/cifar10-mini"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/winnow"))
    arguments = parser.parse_args()
    networks = networks_of(arguments)
    images = opened(arguments.data, arguments.cache, arguments.images)
    report = {**provenance("precision", CPU), "data": images.settings()}
    records = kept_records(arguments.output, report, {name: settings_of(each) for name, each in networks.items()})

    def keep(record: Record) -> None:
        records.append(record)
        accuracy = f"{record['accuracy']:.2%} in {record['seconds']:.0f} s"
        print(f"{record['network']}, {record['way']}, seed {record['seed']}: {accuracy}", file=sys.stderr, flush=True)
        write_json(arguments.output, {**report, "trainings": records})

    train_missing(networks, images, arguments.seeds, records, keep)
    rows = compared(records)
    Console().print(table_of(rows))
    write_report(arguments.output, {**report, "trainings": records, "networks": rows})


def networks_of(arguments: argparse.Namespace) -> dict[str, Network]:
    """Return the networks that were asked for, by name."""
    found = {}
    for name in arguments.networks:
        if name == "alexnet":
            rate, epochs = arguments.alexnet_learning_rate, arguments.alexnet_epochs
            found[name] = Network(ModelSpec("alexnet"), replace(RECIPE, learning_rate=rate, epochs=epochs))
        elif name in NORMS:
            spec = ModelSpec("convnet", {"depth": 3, "width": arguments.width, "norm": name})
            found[name] = Network(spec, replace(RECIPE, epochs=arguments.epochs))
        else:
            known = (*NORMS, "alexnet")
            raise UserError(f"There is no network '{name}'.{nearest(name, known)} Known: {', '.join(known)}.")
    return found


def settings_of(network: Network) -> dict[str, Any]:
    """Return what a network's trainings must have in common to be compared."""
    recipe = {key: value for key, value in network.recipe.to_dict().items() if key not in ("precision", "mode")}
    return {"model": network.spec.to_dict(), "recipe": recipe}


def opened(data: Path, cache: Path, images: int | None) -> Images:
    """Return training and test images, of the former the first `images`."""
    train, test = open_train_test("parquet", data, cache=cache)
    if images is not None:
        train = train.select(range(min(images, len(train))))
    return Images(train, test, standardisation_of(train))


def kept_records(output: Path, report: Mapping[str, Any], settings: Mapping[str, dict[str, Any]]) -> list[Record]:
    """Return the trainings in the output file.

    Raises:
        UserError: they were done on another machine, with other libraries, on other data or with other settings.
    """
    if not output.exists():
        return []
    before = json.loads(output.read_text(encoding="utf-8"))
    records: list[Record] = before.get("trainings", [])
    for key in ("machine", "versions", "data"):
        if before.get(key) != report[key]:
            raise UserError(f"{output.name} was made with another '{key}': name another --output, or remove it.")
    for record in records:
        if record["settings"] != settings.get(record["network"], record["settings"]):
            raise UserError(
                f"{output.name} has trainings of '{record['network']}' with other settings: "
                "name another --output, or remove it."
            )
    return records


def train_missing(
    networks: Mapping[str, Network],
    images: Images,
    seeds: int,
    records: Sequence[Record],
    keep: Callable[[Record], None],
) -> None:
    """Train every network in every way from every seed, but for those that there are records of; `keep` each."""
    done = {(record["network"], record["way"], record["seed"]) for record in records}
    for seed in range(seeds):
        for name, network in networks.items():
            for way in WAYS:
                if (name, way, seed) not in done:
                    found = trained(training_of(network, way, images, seed), images)
                    keep({"network": name, "way": way, "seed": seed, "settings": settings_of(network), **found})


def training_of(network: Network, way: str, images: Images, seed: int) -> Training:
    """Return a training at its start; weights, order and augmentation depend on network and seed alone.

    Raises:
        UserError: fused blocks cannot be had here.
    """
    shape, classes = images.train.image_shape, images.train.classes
    model = build(network.spec, shape, classes, seed=derive_seed(seed, "precision", "weights"))
    data = TrainingData(images.train.images, images.train.labels, images.space)
    recipe = replace(network.recipe, **WAYS[way])
    training = Training(model, data, recipe, seed=derive_seed(seed, "precision", "order"), mask=None)
    wanted = (recipe.mode, recipe.precision == "bfloat16")
    if (training.network.mode, training.network.bfloat16) != wanted:
        raise UserError(f"'{network.spec.label()}' cannot be trained in {way} here: is there a C++ compiler?")
    return training


def trained(training: Training, images: Images) -> Record:
    """Train to the end; return test accuracy in [0, 1], mean loss (None if it diverged), and seconds."""
    losses: list[float | None] = []

    def train() -> None:
        try:
            losses.append(training.run())
        except Diverged:  # which is a finding, too
            losses.append(None)

    seconds = seconds_of(train, CPU)
    test = TrainingData(images.test.images, images.test.labels, images.space)
    return {"accuracy": accuracy_of(training, test), "mean_loss": losses[0], "seconds": seconds}


def accuracy_of(training: Training, test: TrainingData, batch_size: int = 500) -> float:
    """Return the accuracy in [0, 1] of the very network that was trained (`evaluate` would choose its own mode)."""
    hits = 0
    with evaluation_mode(training.model), torch.inference_mode():
        training.network.train(False)
        for start in range(0, len(test), batch_size):
            inputs, labels = test.batch(slice(start, start + batch_size))
            hits += int((training.network(inputs).argmax(1) == labels).sum())
    return hits / len(test)


def compared(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return, for each network and way, accuracies by seed, mean, deviation and the difference from the reference."""
    rows = []
    for name in dict.fromkeys(record["network"] for record in records):
        by_way = {
            way: {
                record["seed"]: record["accuracy"]
                for record in records
                if (record["network"], record["way"]) == (name, way)
            }
            for way in WAYS
        }
        for way, accuracies in by_way.items():
            row: dict[str, Any] = {"network": name, "way": way, "seeds": sorted(accuracies)}
            row |= {"mean": None, "std": None} if not accuracies else mean_and_std(list(accuracies.values()))
            if way != REFERENCE:
                common = sorted(accuracies.keys() & by_way[REFERENCE].keys())
                row |= difference([accuracies[seed] - by_way[REFERENCE][seed] for seed in common])
            rows.append(row)
    return rows


def table_of(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return means, deviations and differences, in percent and points."""
    table = Table(title=f"Test accuracy; differences from {REFERENCE}")
    for heading in ("network", "way", "accuracy %", "std", "seeds", "difference", "95 % interval", "within noise"):
        table.add_column(heading, justify="left" if heading in ("network", "way") else "right")
    for row in rows:
        cells = [
            row["network"],
            row["way"],
            _points(row["mean"]),
            _points(row["std"]),
            str(len(row["seeds"])),
        ]
        if row.get("interval") is not None:
            low, high = row["interval"]
            cells += [f"{100 * row['mean_difference']:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}"]
            cells += ["yes" if row["within_noise"] else "no"]
        table.add_row(*cells)
    return table


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


if __name__ == "__main__":
    as_a_program(main)
