"""Tiny data and contexts, and a way to run the Trainables in this process, without Ray."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from ray import tune
from ray.train._internal.storage import StorageContext
from torch import Tensor

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation import DistilledSet
from dp_core.pruning import Ticket
from dp_core.training import Recipe
from trainables import (
    RetrainingContext,
    RetrainingTrainable,
    Score,
    ScreeningContext,
    ScreeningTrainable,
    SharedDataset,
)
from trainables.retraining.method import RetrainingMethod

CLASSES = ("red", "green", "blue")
SHAPE = (3, 8, 8)
SPACE = Standardisation((0.45, 0.5, 0.55), (0.2, 0.25, 0.3))

# A convolution of 3·4·3·3 = 108 weights and 4 biases, 4×4 average-pooled, a linear layer of 64·3 = 192 and 3 biases.
TINY = {"name": "convnet", "depth": 1, "width": 4, "norm": "none", "activation": "relu", "pooling": "average"}
TINY_WEIGHTS, TINY_PARAMETERS = 300, 307

T = TypeVar("T", bound=tune.Trainable)


def dataset(per_class: int, seed: int) -> ImageDataset:
    """Return noise in which the channel of the image's class is brighter, classes taking turns."""
    count = per_class * len(CLASSES)
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(CLASSES)
    images = torch.randint(0, 100, (count, *SHAPE), generator=draw, dtype=torch.int64)
    images[torch.arange(count), labels] += 150
    return ImageDataset(images.to(torch.uint8), labels, CLASSES, f"{seed:064x}")


def distilled_set(images_per_class: int = 2, space: Any = SPACE) -> DistilledSet:
    source = dataset(images_per_class, 7)
    return DistilledSet(
        images=space(source.images.float() / 255),
        labels=source.labels,
        preprocessing=space,
        class_names=CLASSES,
        images_per_class=images_per_class,
        learning_rate=None,
        provenance={"distiller": {"method": "by hand"}},
    )


def screening_context(**changes: Any) -> ScreeningContext:
    settings: dict[str, Any] = {
        "train": SharedDataset.of(dataset(16, 1)),
        "validation": SharedDataset.of(dataset(4, 2)),
        "sets": {"distilled-2": distilled_set(), "subset-2": distilled_set()},
        "space": SPACE,
        "prune_fraction": 0.5,
        "criterion": "magnitude",
        "rewind_step": 0,
        "replicates": 1,
        "score": Score(300, -0.07),
        "seed": 5,
        "threads": 1,
        "stream": "auto",
    }
    return ScreeningContext(**{**settings, **changes})


def candidate(**changes: Any) -> dict[str, Any]:
    """Return a proposal that is pruned in four rounds: 0, 1/2, 3/4 and 4/5 of the weights."""
    recipe = {"steps": 2, "batch_size": 16, "learning_rate": 0.05, "precision": "float32"}
    settings: dict[str, Any] = {"model": TINY, "sparsity": 0.8, "source": "real", "recipe": recipe}
    return {**settings, **changes, "recipe": {**recipe, **changes.get("recipe", {})}}


RETRAINING = Recipe(epochs=3.0, batch_size=20, learning_rate=0.05, schedule="cosine", precision="float32")


def retraining_context(
    tickets: Mapping[int, Ticket], *, recipe: Recipe = RETRAINING, **changes: Any
) -> RetrainingContext:
    """Return what retrainings share; their only method, `own`, is that of tickets by `recipe`."""
    settings: dict[str, Any] = {
        "train": SharedDataset.of(dataset(16, 1)),
        "validation": SharedDataset.of(dataset(4, 2)),
        "test": SharedDataset.of(dataset(5, 3)),
        "space": SPACE,
        "tickets": tickets,
        "methods": {"own": RetrainingMethod(recipe)},
        "epochs": 3,
        "seed": 5,
        "threads": 1,
        "stream": "auto",
    }
    return RetrainingContext(**{**settings, **changes})


def screening(
    context: ScreeningContext,
    proposal: Mapping[str, Any],
    *,
    trial: int = 0,
    resume_from: str | None = None,
    storage: StorageContext | None = None,
) -> ScreeningTrainable:
    config = {"trial": trial, "candidate": dict(proposal), "resume_from": resume_from}
    return _driven(ScreeningTrainable, context, config, storage)


def retraining(
    context: RetrainingContext,
    *,
    trial: int = 0,
    seed: int = 0,
    method: str = "own",
    resume_from: str | None = None,
) -> RetrainingTrainable:
    job = {"trial": trial, "method": method, "seed": seed, "resume_from": resume_from}
    return _driven(RetrainingTrainable, context, {"job": job})


def _driven(kind: type[T], context: Any, config: dict[str, Any], storage: StorageContext | None = None) -> T:
    """Return a trial as Tune would make it, but here: `tune.with_parameters` needs a running Ray."""

    def setup(self: Any, given: dict[str, Any]) -> None:
        kind.setup(self, given, context=context)  # type: ignore[call-arg]

    def logs_elsewhere(self: Any) -> None:
        self._logdir = tempfile.gettempdir()

    here: type[T] = type(f"Driven{kind.__name__}", (kind,), {"setup": setup, "_setup_logdir": logs_elsewhere})
    return here(config, storage)


def rows(trial: tune.Trainable) -> Iterator[dict[str, Any]]:
    """Train until the trial says that it is done, yielding what it says."""
    for _ in range(50):
        row = trial.train()
        yield row
        if row["done"]:
            return
    raise AssertionError("the trial does not end")


def lasting(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a row must not depend on when, where and how often interrupted the trial ran."""
    told_by_tune = {
        "time_this_iter_s", "time_total_s", "training_iteration", "pid", "date", "timestamp", "hostname", "node_ip",
        "time_since_restore", "iterations_since_restore", "config", "trial_id", "seconds", "earlier",
    }  # fmt: skip
    return {key: value for key, value in row.items() if key not in told_by_tune}


def ticket_in(folder: Path) -> Ticket:
    """Return the ticket of a candidate that was screened without a ladder, having saved the trial into `folder`."""
    trial = screening(screening_context(), candidate())
    for _ in rows(trial):
        pass
    trial.save(str(folder))
    return Ticket.load(folder / "ticket")


def standardised(images: Tensor) -> Tensor:
    """Return uint8 images in SPACE, computed by hand."""
    mean = torch.tensor([0.45, 0.5, 0.55]).view(1, 3, 1, 1)
    std = torch.tensor([0.2, 0.25, 0.3]).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / std


def tiny_logits(weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Return what the TINY network answers to images in its space, written out layer by layer."""
    functional = torch.nn.functional
    hidden = functional.conv2d(images, weights["blocks.0.weight"], weights["blocks.0.bias"], padding=1)
    hidden = functional.avg_pool2d(hidden.relu(), 2)
    return hidden.flatten(1) @ weights["classifier.weight"].T + weights["classifier.bias"]
