"""Everything that is checked before a run starts: nothing is left behind if a check fails."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from dp_core.data import ImageDataset, Splits, open_splits
from dp_core.distillation import DistilledSet, Distiller
from dp_core.distillation.base import draw_images, standardisation_of
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build, check_forward
from dp_core.pruning import CRITERIA, Criterion, check_criterion, check_sparsity, prunable_parameters
from dp_core.seeds import generator
from dp_core.training import Recipe, rehearsed
from search.config.models import SearchConfig
from search.pipeline.study_checking import check_search, check_start, limits_of
from search.pipeline.warm_start import points
from search.runs.images import ImageFacts, facts_of, recorded_facts
from search.runs.kinds import RunConfig
from search.runs.machine import this_machine
from search.runs.progress import Progress
from search.space import ChoiceParameter, Constant, Space
from search.study.constraints import Limits
from search.tune.checkpoints import absolute, open_storage
from trainables import Candidate
from trainables.trials.candidate import default_source

T = TypeVar("T")

# Ray's own processes with the driver, and what a trial's process needs beside its data: torch and its workspace.
_RAY_BYTES = 1500 * 2**20
_WORKER_BYTES = 1000 * 2**20

# Architectures of a space that do a step before anything starts, a tenth of a second each where they are small.
_REHEARSED = 32


@dataclass(frozen=True)
class Preparation:
    """A config that has been found sound, with what was read on the way.

    Attributes:
        config: the search.
        space: its space.
        distiller: makes the distilled sets.
        ready: ready-made sets by ipc.
        retraining: recipe of retraining.
        splits: the images.
        images_per_class: of the sets that are needed, those of the ladder included.
        sources: what candidates are screened on.
        limits: what a candidate must keep to, and how fast networks are.
        points: candidates to try first, as flat parameters.
    """

    config: SearchConfig
    space: Space
    distiller: Distiller
    ready: Mapping[int, DistilledSet]
    retraining: Recipe
    splits: Splits
    images_per_class: tuple[int, ...]
    sources: tuple[str, ...]
    limits: Limits
    points: tuple[dict[str, Any], ...]


def prepare(config: SearchConfig, where: str, *, local: bool) -> Preparation:
    """Check `config`, read from `where`, against itself, the machine (if the trials run here: `local`) and the data.

    Raises:
        UserError: the first thing that cannot work.
    """
    space = Space.parse(config.space, where=f"{where}: space")
    with naming(where):
        distiller = config.distill.distiller()
        recipe = config.retrain.parsed_recipe()
        sources = _values(space, "source")
        sources = sources or (default_source([parameter.name for parameter in space.parameters]),)
        ipcs = _with_ladder(_values(space, "ipc"), config, sources)
        check_search(config, space)
        tried_first = points(config.search.start, space)
    if local:
        keys = ("search.concurrency", "search.cpus_per_trial", "search.gpus_per_trial")
        check_machine(config.search.concurrency, config.search.cpus_per_trial, config.search.gpus_per_trial, keys)
    if config.run.storage is not None:
        with naming(f"{where}: run.storage"):
            open_storage(absolute(config.run.storage))
    with naming(f"{where}: data"):
        splits = splits_of(config)
        if splits.train.classes < 2:
            raise UserError(f"there is one class, '{splits.train.class_names[0]}', and so nothing to tell apart.")
        standardisation_of(splits.train)
    with naming(where):
        _check_candidates(space, splits, config, recipe)
        if {"distilled", "subset"} & set(sources):
            _check_images_per_class(ipcs, splits)
        ready = _ready_sets(config, splits, ipcs if "distilled" in sources else ())
        if "distilled" in sources:
            for ipc in ipcs:
                if ipc not in ready:
                    distiller.check(splits.train, ipc)
        limits = limits_of(config, splits)
        check_start(config, space, splits, limits)
    return Preparation(config, space, distiller, ready, recipe, splits, ipcs, sources, limits, tried_first)


def _with_ladder(ipcs: tuple[Any, ...], config: SearchConfig, sources: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the ipc of all sets that are needed: those of candidates, and those of the ladder below them."""
    ladder = config.search.ladder.ipc
    if not ladder or not all(isinstance(ipc, int) for ipc in ipcs):
        return ipcs  # what is wrong with the candidates' own is said when they are checked
    if not {"distilled", "subset"} & set(sources):
        raise UserError("'search.ladder.ipc' has no use, as no candidate is screened on a distilled set or a subset.")
    if min(ladder) < 1 or len(set(ladder)) < len(ladder):
        raise UserError(
            f"'search.ladder.ipc' must be different numbers of images a class, at least 1, not {list(ladder)}."
        )
    if useless := [ipc for ipc in ladder if ipc >= max(ipcs, default=math.inf)]:
        raise UserError(
            f"'search.ladder.ipc' has {useless[0]}, but the rungs of a candidate are those below its own 'space.ipc', "
            f"which is {max(ipcs)} at most."
        )
    return tuple(sorted({*ipcs, *ladder}))


def _ready_sets(config: SearchConfig, splits: Splits, wanted: tuple[Any, ...]) -> dict[int, DistilledSet]:
    """Return the ready-made sets by ipc, having seen that each is for these images and for a candidate."""
    found: dict[int, DistilledSet] = {}
    for path in config.distill.sets:
        with naming("'distill.sets'"):
            ready = DistilledSet.load(path)
        with naming(f"'distill.sets': {path}"):
            ready.check_fits(splits.train.image_shape, splits.train.class_names)
            ipc = ready.images_per_class
            if ipc in found:
                raise UserError(f"two sets have {ipc} images a class.")
            if ipc not in wanted:
                raise UserError(f"it has {ipc} images a class, which no distilled candidate of 'space.ipc' asks for.")
        found[ipc] = ready
    return found


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


def images_of(recorded: Mapping[str, Any], config: RunConfig) -> ImageFacts:
    """Return what tables need to know of a run's images; only those of an old run have to be there for it."""
    return recorded_facts(recorded) or facts_of(splits_of(config))


def say_data(splits: Splits, progress: Progress) -> None:
    """Say which files became which split, and what is odd about the images."""
    for sentence in splits.sentences():
        progress.say("data", sentence)


def scoring_images(validation: ImageDataset, count: int | None, seed: int) -> ImageDataset:
    """Return about `count` of the held-back images, as many of each class, or all of them."""
    if count is None or count >= len(validation):
        return validation
    smallest = min(len(validation.class_indices(label)) for label in range(validation.classes))
    each = min(math.ceil(count / validation.classes), smallest)
    chosen = draw_images(validation, each, generator(seed, "scoring images"))
    return validation.select(torch.sort(chosen).values)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put the name of the config in front of a mistake."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def check_machine(concurrency: int, cpus: int, gpus: float, keys: tuple[str, str, str]) -> None:
    """Raise UserError unless this machine can run `concurrency` trials of so many CPUs and GPUs at a time.

    The sentence names those of `keys`, in the order of the first three arguments, that should be lower.
    """
    this_machine().require(
        cpus=concurrency * cpus,
        memory_bytes=_RAY_BYTES + concurrency * _WORKER_BYTES,
        gpus=concurrency * gpus,
        keys=keys,
    )


def _values(space: Space, name: str) -> tuple[Any, ...]:
    """Return the values that a choice or constant of the space can take, () if it has no such parameter."""
    values: list[Any] = []
    for parameter in space.parameters:
        if parameter.name == name:
            if isinstance(parameter, Constant):
                values.append(parameter.value)
            elif isinstance(parameter, ChoiceParameter):
                values.extend(parameter.values)
            else:
                raise UserError(
                    f"'space.{name}' must be a choice or a constant, as a set is made for each of its values."
                )
    return tuple(values)


def _check_candidates(space: Space, splits: Splits, config: SearchConfig, retraining: Recipe) -> None:
    """See that every architecture at the corners of the space can be trained, and be as sparse as it may have to be."""
    rewind_step, ladder = config.screen.rewind_step, config.search.ladder.ipc
    corners = [(corner, Candidate.parse(corner, splits.train.classes)) for corner in space.corners()]
    chosen = some_of(list(dict.fromkeys(_architecture(candidate) for _, candidate in corners)))
    layers: dict[str, dict[str, int]] = {}
    for corner, candidate in corners:
        label, key = candidate.model.label(), _architecture(candidate)
        if key not in layers:
            recipes = (candidate.recipe, retraining) if key in chosen else ()
            layers[key] = _layer_sizes(candidate.model, splits, CRITERIA[config.screen.criterion], *recipes)
        try:
            check_sparsity(candidate.sparsity, layers[key])
        except UserError as error:
            raise UserError(f"'space.sparsity' is impossible for {label}: {error}") from error
        for rung in Candidate.parse_ladder(corner, splits.train.classes, ladder):
            ipc = rung.images_per_class
            steps = rung.recipe.total_steps(len(splits.train) if ipc is None else ipc * splits.train.classes)
            if rewind_step >= steps:
                raise UserError(f"'screen.rewind_step' is {rewind_step}, but a round may have only {steps} steps.")


def _architecture(candidate: Candidate) -> str:
    """Return what tells a network, and how it is executed, from others."""
    return repr([candidate.model.to_dict(), candidate.recipe.mode, candidate.recipe.precision])


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


def _layer_sizes(spec: ModelSpec, splits: Splits, criterion: Criterion, *recipes: Recipe) -> dict[str, int]:
    with naming("'space.model'"):
        model = built(spec, splits, *recipes)
    with naming("'screen.criterion'"):
        check_criterion(criterion, model)
    return {name: parameter.numel() for name, parameter in prunable_parameters(model).items()}


def _check_images_per_class(ipcs: tuple[int, ...], splits: Splits) -> None:
    smallest = min(len(splits.train.class_indices(label)) for label in range(splits.train.classes))
    for ipc in ipcs:
        if ipc > smallest:
            raise UserError(f"'space.ipc' asks for {ipc} images a class, but the smallest class has {smallest}.")
