"""A comparison small enough to be driven job by job in this process: TINY networks, a dozen image-gradients a round."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dp_core.data import ImageDataset
from dp_core.models import ModelSpec
from dp_core.pruning import Scope, Ticket
from dp_core.training import Recipe
from tests.trainables.driving import SPACE, TINY, dataset, distilled_set
from trainables.laboratory import Cell, Job, Laboratory, Method, Stability, read_result, run_job
from trainables.trials.shared_dataset import SharedDataset

CPU = torch.device("cpu")
ROUND = Recipe(optimizer="adamw", steps=2, batch_size=16, learning_rate=0.02, precision="float32", mode="eager")
# 48 training images in batches of 16: nine steps, whose quarters end after 3, 5, 7 and 9.
RETRAINING = replace(ROUND, steps=None, epochs=3.0, learning_rate=0.01)
TARGETS = (0.5, 0.75, 0.8)  # one round each where a round removes about a half
ZEROS = (150, 225, 240)  # of the 300 weights of TINY
NOTHING = Stability(barrier_at=(), points=5, eigenvalue_at=(), images=12)
BATCH_NORM = {**TINY, "norm": "batch"}  # 300 prunable weights, too, and running statistics


def method(name: str = "imp", **changes: Any) -> Method:
    """Return iterative magnitude pruning on real images, or what `changes` make of it."""
    return replace(
        Method(
            name=name,
            family=name,
            kind="iterative",
            criterion="magnitude",
            source="real",
            images_per_class=None,
            space=None,
            recipe=ROUND,
            learning_rates=(ROUND.learning_rate,),
            rewind_step=0,
            prune_fraction=0.5,
            sparsities=TARGETS,
            parent=None,
            start_sparsity=None,
        ),
        **changes,
    )


def untrained(name: str, kind: Any = "at_initialisation", **changes: Any) -> Method:
    """Return a method without rounds: `dense`, `at_initialisation` or a control."""
    criterion = name if kind == "at_initialisation" else "magnitude"
    return method(name, **{"kind": kind, "criterion": criterion, "source": None, "recipe": None, **changes})


DENSE = untrained("dense", "dense", sparsities=(0.0,))
DISTILLED = method("distilled", source="distilled", images_per_class=2)


def laboratory(folder: Path, methods: Iterable[Method], **changes: Any) -> Laboratory:
    """Return a comparison of one network, `tiny`; its images are those of tests/trainables/driving.py."""
    settings: dict[str, Any] = {
        "train": SharedDataset.of(dataset(16, 1)),
        "validation": SharedDataset.of(dataset(4, 2)),
        "test": SharedDataset.of(dataset(5, 3)),
        "space": SPACE,
        "sets": {"distilled-2": distilled_set()},
        "networks": {"tiny": ModelSpec.from_dict(changes.pop("network", TINY))},
        "methods": {"tiny": {given.name: given for given in methods}},
        "scope": Scope(),
        "recipe": RETRAINING,
        "learning_rates": (RETRAINING.learning_rate,),
        "stability": NOTHING,
        "seed": 6,
        "folder": folder,
        "threads": 1,
        "stream": "auto",
        "round_images": 12,
    }
    return Laboratory(**{**settings, **changes})


class Untouchable(SharedDataset):
    """Images that nobody may look at."""

    def open(self) -> ImageDataset:
        raise AssertionError("these images were looked at")


def untouchable(shared: SharedDataset) -> SharedDataset:
    return Untouchable(shared.images, np.full_like(shared.labels, -1), shared.class_names, shared.digest)


def rotated(shared: SharedDataset) -> SharedDataset:
    """Return the same images, each labelled as the class after its own."""
    return replace(shared, labels=(shared.labels + 1) % len(shared.class_names))


@dataclass(frozen=True)
class Found:
    """A finished search and its tickets."""

    result: dict[str, Any]
    tickets: dict[float, Ticket]


def tune(lab: Laboratory, name: str) -> dict[str, Any]:
    run_job(lab, Job("tune", Cell("tiny", 0, name)))
    found = read_result(lab.files.learning_rate("tiny", name))
    assert found is not None
    return found


def find(lab: Laboratory, name: str, seed: int = 0) -> Found:
    cell = Cell("tiny", seed, name)
    run_job(lab, Job("find", cell))
    result = read_result(lab.files.search(cell))
    assert result is not None
    return Found(result, {cost["sparsity"]: ticket(lab, name, cost["sparsity"], seed) for cost in result["tickets"]})


def ticket(lab: Laboratory, name: str, sparsity: float, seed: int = 0) -> Ticket:
    return Ticket.load(lab.files.ticket(Cell("tiny", seed, name, sparsity)))


def train(lab: Laboratory, name: str, sparsity: float, seed: int = 0) -> dict[str, Any]:
    cell = Cell("tiny", seed, name, sparsity)
    run_job(lab, Job("train", cell))
    found = read_result(lab.files.training(cell))
    assert found is not None
    return found


def timeless(value: Any) -> Any:
    """Return a result without what the clock said."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if not key.endswith("seconds")}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, Any]:
    """Return all that the jobs of a comparison have found: results without times, and the tensors of every ticket."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "card.json":
            kept = Ticket.load(path.parent)
            card = timeless({"history": list(kept.history), "provenance": dict(kept.provenance)})
            found[name] = (dict(kept.weights), dict(kept.mask), card)
        elif path.suffix == ".json":
            found[name] = timeless(json.loads(path.read_text()))
    return found
