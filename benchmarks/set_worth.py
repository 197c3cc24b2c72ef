"""What is a distilled set worth for what Winnow does with it: for masks, for ranks, and beside that for fresh networks?

    python -m benchmarks.set_worth --data-root PATH SET...      # complete CIFAR-10; some ten minutes a set on one core
    python -m benchmarks.set_worth                              # the page and the figure again from what was measured

Sets are .safetensors files, or `random_images` (ten a class, other ones for every seed), `real` (all training images at
equal image-gradients) and `random_mask` (Erdős–Rényi-Kernel densities). Whatever was measured of a set is kept by its
digest in results/set_worth.json, and not measured again. Nothing here looks at a test image.

    mask     masks of two ConvNet-3 of width 32, with instance and with batch norm, from nine rounds of 30 steps on 100
             images, 28 % a round, after which the ticket is trained on the real images for one epoch from its
             initialisation: accuracy on validation images at 90 and 95 % sparsity. The rounds are done at three
             learning rates, and that counts which is best for a network: which one suits differs from set to set
             and is worth more than the difference between sets
    rank     Spearman's correlation of the accuracy after 30 steps with the committed truth of ConvNet-720, over 24 of
             its architectures of at most 60 MFLOPs, as many of each depth, width, norm, activation and pooling; of
             real images after 100 steps, too, which is what a set is to be as good as
    fresh    accuracy on validation images of a ConvNet-3 of width 64 after 30 and 300 steps on the set, and of the two
             networks whose masks are found, after 30

The figures set masks against fresh networks, once there are five sets of which both are known: does a set that trains
networks well find masks well?
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.measuring import RESULTS, as_a_program
from dp_core.data import Splits, open_splits
from dp_core.distillation import DistilledSet, RandomImages
from dp_core.distillation.judging import judging_recipe, trained_accuracy
from dp_core.errors import UserError
from dp_core.files import write_json, write_text
from dp_core.models import ModelSpec
from dp_core.models.sampling import stratified
from dp_core.models.spaces import convnet720
from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.distilled_training import DistilledTraining
from dp_core.proxies.real_training import RealDataTraining
from dp_core.pruning import Mask
from dp_core.quality.ticket_bench import RANDOM_MASK, TicketBench
from dp_core.training import Recipe, TrainingData
from search.output.drawing import save
from search.output.panels import Axis, Line, Panel, style
from search.output.rank_correlation import MINIMUM_PAIRS, rank_correlation, spearman
from search.output.sheet import Sheet
from search.output.tables import read_rows
from search.proxies.tables import TRUTHS

Row = dict[str, Any]

REAL, RANDOM = "real", "random_images"
NETWORKS = tuple(ModelSpec("convnet", {"depth": 3, "width": 32, "norm": norm}) for norm in ("instance", "batch"))
STEPS, IMAGES = 30, 100
LONGER = 100  # steps on real images that ranks are held against
WIDER = ModelSpec("convnet", {"depth": 3, "width": 64})
FRESH = ((WIDER, 300), (WIDER, STEPS), *((spec, STEPS) for spec in NETWORKS))
MASKS = ("instance 90%", "instance 95%", "batch 90%", "batch 95%")
LEARNT = ("fresh, 30 steps", "fresh, 300 steps")
RANK, RANK_LONGER = "rank", f"rank, {LONGER} steps"
RATES = (3e-3, 1e-2, 3e-2)
SPARSITIES = tuple(1 - 0.72**number for number in range(1, 10))
TRIED = (6, 8)  # 90 and 95 %
TRAINING = Recipe(
    optimizer="adamw", learning_rate=3e-3, schedule="one_cycle", epochs=1, batch_size=100, augmentation="flip_crop"
)
TRUTH = RESULTS / "proxies" / "convnet720" / "truth.parquet"
ARCHITECTURES, MOST_FLOPS = 24, 6e7
KEPT = RESULTS / "set_worth.json"


def main() -> None:
    """Measure what is missing; write the page and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET")
    parser.add_argument("--data-root", type=Path, help="folder of complete CIFAR-10 as Parquet shards")
    parser.add_argument("--cache", type=Path, default=Path(".cache/winnow"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--measures", nargs="+", choices=("mask", "rank", "fresh"), default=("mask", "rank", "fresh"))
    parser.add_argument("--kept", type=Path, default=KEPT)
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        raise UserError(f"--seeds is at least 1, not {arguments.seeds}.")
    rows = kept_rows(arguments.kept)
    arms = [arm_of(name) for name in arguments.sets]
    for arm in arms:
        check_name(arm, rows)
    if arms:
        if arguments.data_root is None:
            raise UserError("Measuring needs --data-root, the folder of complete CIFAR-10.")
        splits = open_splits("parquet", arguments.data_root, cache=arguments.cache, validation=0.1, seed=0)
        worth = Worth(splits)
        for arm in arms:
            for wanted in worth.wanted(arm, range(arguments.seeds), arguments.measures):
                if any(wanted.items() <= row.items() for row in rows):
                    continue
                rows += worth.measured(arm, wanted)
                write_json(arguments.kept, rows)
    write_text(arguments.kept.with_suffix(".md"), page(rows))
    if all(len(complete(means(rows), learnt)) >= MINIMUM_PAIRS for learnt in LEARNT):
        save([scatter(rows, learnt, place) for place, learnt in enumerate(LEARNT)], arguments.kept.with_suffix(".svg"))
    print(page(rows))


@dataclass(frozen=True)
class Arm:
    """What is measured: a set, or one of the controls, which have none."""

    name: str
    distilled: DistilledSet | None

    @property
    def facts(self) -> Row:
        """What every row says of it."""
        if self.distilled is None:
            return {"set": self.name, "digest": None}
        made = self.distilled.provenance
        return {"set": self.name, "digest": self.distilled.digest, "method": made.get("distiller", {}).get("method")}


def arm_of(name: str) -> Arm:
    """Return the control of this name, or the set in this file."""
    controls = (REAL, RANDOM, RANDOM_MASK)
    if name in controls:
        return Arm(name, None)
    if not Path(name).is_file():
        raise UserError(f"There is no distilled set {name}; the controls are {', '.join(controls)}.")
    return Arm(Path(name).name.removesuffix(".safetensors"), DistilledSet.load(Path(name)))


def kept_rows(path: Path) -> list[Row]:
    """Return what was measured before, nothing if there is no such file; UserError if it cannot be read."""
    if not path.exists():
        return []
    try:
        rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    return rows


def check_name(arm: Arm, rows: Sequence[Row]) -> None:
    """Raise UserError if another set of this name was measured: means would be those of both."""
    if any(row["set"] == arm.name and row.get("digest") != arm.facts["digest"] for row in rows):
        raise UserError(f"Another set was measured as '{arm.name}': give the file of this one another name.")


class Worth:
    """Measures arms on the training and validation images of one data set."""

    def __init__(self, splits: Splits) -> None:
        self._train, self._validation = splits.train, splits.validation
        self._benches = {spec.label(): TicketBench(self._train, self._validation, spec, TRAINING) for spec in NETWORKS}

    def wanted(self, arm: Arm, seeds: Sequence[int], measures: Sequence[str]) -> Iterator[Row]:
        """Yield what tells the rows of an arm from one another."""
        for seed in seeds:
            if "fresh" in measures and arm.name not in (REAL, RANDOM_MASK):
                for spec, steps in FRESH:
                    yield {**arm.facts, "measure": "fresh", "network": spec.label(), "steps": steps, "seed": seed}
            if "rank" in measures and arm.name != RANDOM_MASK:
                for steps in (STEPS, LONGER) if arm.name == REAL else (STEPS,):
                    yield {**arm.facts, "measure": "rank", "steps": steps, "seed": seed}
            if "mask" in measures:
                for label, rate in itertools.product(self._benches, (None,) if arm.name == RANDOM_MASK else RATES):
                    yield {**arm.facts, "measure": "mask", "network": label, "rate": rate, "seed": seed}

    def measured(self, arm: Arm, wanted: Row) -> list[Row]:
        """Return the rows that begin with `wanted`."""
        measures: Mapping[str, Callable[[Arm, Row], list[Row]]] = {
            "mask": self._masks,
            "rank": self._ranks,
            "fresh": self._fresh,
        }
        print(
            ", ".join(str(wanted[key]) for key in ("set", "measure", "network", "rate", "seed") if key in wanted),
            flush=True,
        )
        return [{**wanted, **found} for found in measures[wanted["measure"]](arm, wanted)]

    def _masks(self, arm: Arm, wanted: Row) -> list[Row]:
        bench, seed = self._benches[wanted["network"]], wanted["seed"]
        if arm.name == RANDOM_MASK:
            masks: list[Mask] | None = [bench.random_mask(sparsity, seed) for sparsity in SPARSITIES]
        else:
            masks, _ = bench.find(self._data(arm, seed, bench.real), round_recipe(wanted["rate"]), SPARSITIES, seed)
        return [
            {"sparsity": SPARSITIES[place], "value": bench.retrained(masks[place] if masks else None, seed)}
            for place in TRIED
        ]

    def _ranks(self, arm: Arm, wanted: Row) -> list[Row]:
        seed = wanted["seed"]
        truth = {row["architecture"]: row for row in read_rows(TRUTH, TRUTHS)}
        cheap = [spec for spec in convnet720() if truth.get(spec.label(), {}).get("forward_flops", 1e99) <= MOST_FLOPS]
        specs = stratified(cheap, ARCHITECTURES, 0)
        sets = {} if arm.name == REAL else {"set": self._set(arm, seed)}
        steps = (wanted["steps"],)
        proxy = RealDataTraining(steps=steps) if arm.name == REAL else DistilledTraining(set="set", steps=steps)
        inputs = ProxyInputs(self._train, self._validation, sets)
        scores = [proxy.score(spec, inputs, seed)[0].value for spec in specs]
        return [{"value": spearman(scores, [truth[spec.label()]["accuracy"] for spec in specs])}]

    def _fresh(self, arm: Arm, wanted: Row) -> list[Row]:
        seed, steps = wanted["seed"], wanted["steps"]
        made = replace(self._set(arm, seed), learning_rate=None)
        spec = next(spec for spec, _ in FRESH if spec.label() == wanted["network"])
        recipe = judging_recipe(made, steps)
        return [{"value": trained_accuracy(made, self._validation, spec, recipe, seed, train=self._train)}]

    def _data(self, arm: Arm, seed: int, real: TrainingData) -> TrainingData:
        return real if arm.name == REAL else TrainingData(*self._set(arm, seed).training_data())

    def _set(self, arm: Arm, seed: int) -> DistilledSet:
        return arm.distilled or RandomImages().distill(self._train, 10, seed)


def round_recipe(rate: float) -> Recipe:
    """Return how a round trains, whatever it trains on."""
    return Recipe(
        optimizer="adamw",
        learning_rate=rate,
        schedule="one_cycle",
        steps=STEPS,
        batch_size=IMAGES,
        augmentation="siamese",
    )


def means(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return the means over seeds of each set by column; `mask` is the mean of those of masks, if all are there."""
    cells: dict[str, dict[str, list[float]]] = {}
    for row in at_best_rates(rows):
        if row["measure"] == "mask":
            column = f"{'batch' if 'batch' in row['network'] else 'instance'} {row['sparsity']:.0%}"
        elif row["measure"] == "fresh":
            column = _learnt(row)
        else:
            column = RANK if row["steps"] == STEPS else RANK_LONGER
        cells.setdefault(row["set"], {}).setdefault(column, []).append(row["value"])
    found = {name: {column: fmean(values) for column, values in own.items()} for name, own in cells.items()}
    return {
        name: {**own, "mask": fmean(own[column] for column in MASKS)} if own.keys() >= {*MASKS} else own
        for name, own in found.items()
    }


def _learnt(row: Row) -> str:
    """Return the column of a fresh network: what is set against masks is of the networks that these are of."""
    wide = row["network"] == WIDER.label() and row["steps"] == STEPS
    return f"{'w64' if wide else 'fresh'}, {row['steps']} steps"


def at_best_rates(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without those of masks that were found at another rate than the best of their set and network."""
    values: dict[tuple[str, str], dict[float | None, list[float]]] = {}
    for row in rows:
        if row["measure"] == "mask":
            values.setdefault((row["set"], row["network"]), {}).setdefault(row["rate"], []).append(row["value"])
    best = {key: max(found, key=lambda rate: fmean(found[rate])) for key, found in values.items()}
    return [row for row in rows if row["measure"] != "mask" or row["rate"] == best[row["set"], row["network"]]]


def page(rows: Sequence[Row]) -> str:
    """Return a table of all sets, the best masks first, and how masks go with fresh networks."""
    found = means(rows)
    columns = [*MASKS, "mask", *LEARNT, f"w64, {STEPS} steps"]
    lines = [
        [
            name,
            *(f"{100 * own[key]:.1f}" if key in own else "" for key in columns),
            f"{own[RANK]:.2f}" if RANK in own else "",
        ]
        for name, own in sorted(found.items(), key=lambda each: -each[1].get("mask", 0))
    ]
    longer = found.get(REAL, {}).get(RANK_LONGER)
    notes = [] if longer is None else [f"{LONGER} steps on real images rank with {longer:.2f}."]
    for learnt in LEARNT:
        both = complete(found, learnt)
        correlation = rank_correlation([own[learnt] for own in both], [own["mask"] for own in both], seed=0)
        if correlation is not None:
            notes.append(
                f"Masks and {learnt} have a rank correlation of {correlation.rho:.2f} "
                f"[{correlation.low:.2f}, {correlation.high:.2f}] over {correlation.pairs} sets."
            )
    title = "Tickets and fresh networks, validation accuracy %; rank correlation of 30 steps with the truth"
    sheet = Sheet(["Set", *columns, RANK], lines, title, " ".join(notes))
    return f"# What distilled sets are worth\n\n{sheet.markdown()}"


def complete(found: Mapping[str, Mapping[str, float]], learnt: str) -> list[Mapping[str, float]]:
    """Return the sets, and random images, of which both masks and fresh networks are known."""
    return [own for own in found.values() if {learnt, "mask"} <= own.keys()]


def scatter(rows: Sequence[Row], learnt: str, number: int) -> Panel:
    """Return masks against fresh networks, a point a set."""
    ordered = sorted((100 * own[learnt], 100 * own["mask"]) for own in complete(means(rows), learnt))
    points = Line("", [x for x, _ in ordered], [y for _, y in ordered], replace(style(number), dashes=""))
    return Panel(
        f"Masks against {learnt}",
        Axis("accuracy of fresh networks, %"),
        Axis("accuracy of tickets, %"),
        [points],
    )


if __name__ == "__main__":
    as_a_program(main)
