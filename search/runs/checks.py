"""What the preparation of every kind of run checks: the images, the machine, a network."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from dp_core.data import ImageDataset, Splits, open_splits
from dp_core.distillation.base import draw_images, standardisation_of
from dp_core.errors import UserError, naming
from dp_core.models import ModelSpec, build, check_forward
from dp_core.pruning import prunable_parameters
from dp_core.seeds import generator
from dp_core.training import Recipe, rehearsed
from search.config.sections import ResourcesSection, RunConfig
from search.runs.images import ImageFacts, facts_of, recorded_facts
from search.runs.machine import this_machine

T = TypeVar("T")

# Ray's own processes with the driver, and what a trial's process needs beside its data: torch and its workspace.
_RAY_BYTES = 1500 * 2**20
_WORKER_BYTES = 1000 * 2**20

# Architectures of a space that do a step before anything starts, a tenth of a second each where they are small.
_REHEARSED = 32


def splits_of(config: RunConfig) -> Splits:
    """Return the three splits of a run: the same images wherever the config is opened."""
    return open_splits(
        config.data.format,
        config.data.root,
        cache=config.data.cache,
        validation=config.data.validation,
        seed=config.run.seed,
        reading=config.data.reading,
    )


def sound_splits(config: RunConfig, where: str) -> Splits:
    """Return the three splits of a run, having seen that there is something to be learnt from them.

    Raises:
        UserError: they cannot be read, are of one class, or have no contrast.
    """
    with naming(f"{where}: data"):
        splits = splits_of(config)
        if splits.train.classes < 2:
            raise UserError(f"there is one class, '{splits.train.class_names[0]}', and so nothing to tell apart.")
        standardisation_of(splits.train)
    return splits


def images_of(recorded: Mapping[str, Any], config: RunConfig) -> ImageFacts:
    """Return what tables need to know of a run's images; only those of an old run have to be there for it."""
    return recorded_facts(recorded) or facts_of(splits_of(config))


def scoring_images(validation: ImageDataset, count: int | None, seed: int) -> ImageDataset:
    """Return about `count` of the held-back images, as many of each class, or all of them."""
    if count is None or count >= len(validation):
        return validation
    smallest = min(len(validation.class_indices(label)) for label in range(validation.classes))
    each = min(math.ceil(count / validation.classes), smallest)
    chosen = draw_images(validation, each, generator(seed, "scoring images"))
    return validation.select(torch.sort(chosen).values)


def check_machine(resources: ResourcesSection) -> None:
    """Raise UserError unless this machine can run the jobs that `resources` says; it names the keys to lower."""
    this_machine().require(
        cpus=resources.concurrency * resources.cpus_per_job,
        memory_bytes=_RAY_BYTES + resources.concurrency * _WORKER_BYTES,
        gpus=resources.concurrency * resources.gpus_per_job,
        keys=("resources.concurrency", "resources.cpus_per_job", "resources.gpus_per_job"),
    )


def some_of(architectures: Sequence[T]) -> Sequence[T]:
    """Return those architectures that do a step before anything starts: all, or some at random, always the same."""
    if len(architectures) <= _REHEARSED:
        return architectures
    return random.Random(0).sample(architectures, _REHEARSED)


def built(spec: ModelSpec, splits: Splits, *recipes: Recipe) -> nn.Module:
    """Return the network that `spec` describes, having seen that `recipes` can train it on the images of `splits`.

    Raises:
        UserError: it cannot be built, has nothing to prune, or cannot be trained (see `rehearsed`).
    """
    shape, classes = splits.train.image_shape, splits.train.classes
    model = build(spec, shape, classes, seed=0)
    prunable_parameters(model)
    if recipes:
        rehearsed(spec, shape, classes, *recipes)
    else:
        check_forward(model, spec.label(), shape, classes)
    return model
