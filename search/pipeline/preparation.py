"""Everything that is checked before a run starts: nothing is left behind if a check fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.data import Splits
from dp_core.distillation import DistilledSet, Distiller
from dp_core.errors import UserError, naming
from dp_core.models import ModelSpec
from dp_core.pruning import (
    CRITERIA,
    Criterion,
    Scope,
    check_criterion,
    check_sparsity,
    criterion_named,
    prunable_parameters,
)
from dp_core.training import Recipe
from search.config.models import SearchConfig
from search.pipeline.study_checking import check_search, check_start, limits_of
from search.pipeline.warm_start import points
from search.runs.checks import built, check_machine, some_of, sound_splits
from search.space import ChoiceParameter, Constant, Space
from search.study.constraints import Limits
from search.study.storage.database_url import resolve_url
from search.tune.checkpoints import absolute, open_storage
from trainables import Candidate
from trainables.retraining.method import RetrainingMethod
from trainables.trials.source import default_source


@dataclass(frozen=True)
class Preparation:
    """A config that has been found sound, with what was read on the way.

    Attributes:
        config: the search.
        space: its space.
        distiller: makes the distilled sets.
        ready: ready-made sets by ipc.
        retraining: recipe of retraining, by the first method.
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


def settled(config: SearchConfig) -> SearchConfig:
    """Return the config with its storages, which are no paths, the same from every folder.

    Raises:
        UserError: the URL of the study's database is malformed.
    """
    run, search = config.run, config.search
    if run.storage is not None:
        run = run.model_copy(update={"storage": absolute(run.storage)})
    if search.storage is not None:
        search = search.model_copy(update={"storage": resolve_url(search.storage, Path.cwd())})
    return config.model_copy(update={"run": run, "search": search})


def prepare(config: SearchConfig, where: str, *, local: bool) -> Preparation:
    """Check `config`, read from `where`, against itself, the machine (if the trials run here: `local`) and the data.

    Raises:
        UserError: the first thing that cannot work.
    """
    space = Space.parse(config.space, where=f"{where}: space")
    with naming(where):
        distiller = config.distill.distiller()
        methods = config.retrain.methods()
        sources = _values(space, "source")
        sources = sources or (default_source([parameter.name for parameter in space.parameters]),)
        ipcs = _with_ladder(_values(space, "ipc"), config, sources)
        check_search(config, space)
        tried_first = points(config.search.start, space)
    if local:
        check_machine(config.resources)
    if config.run.storage is not None:
        with naming(f"{where}: run.storage"):
            open_storage(config.run.storage)
    splits = sound_splits(config, where)
    with naming(where):
        _check_candidates(space, splits, config, methods)
        if {"distilled", "subset"} & set(sources):
            _check_images_per_class(ipcs, splits)
        ready = _ready_sets(config, splits, ipcs if "distilled" in sources else ())
        if "distilled" in sources:
            for ipc in ipcs:
                if ipc not in ready:
                    distiller.check(splits.train, ipc)
        limits = limits_of(config, splits)
        check_start(config, space, splits, limits)
    return Preparation(config, space, distiller, ready, methods[0].recipe, splits, ipcs, sources, limits, tried_first)


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
    for name, path in config.chosen_sets.items():
        with naming(f"'sets.{name}'"):
            ready = DistilledSet.load(path)
            ready.check_fits(splits.train.image_shape, splits.train.class_names)
            ipc = ready.images_per_class
            if ipc in found:
                raise UserError(f"two sets have {ipc} images a class.")
            if ipc not in wanted:
                raise UserError(f"it has {ipc} images a class, which no distilled candidate of 'space.ipc' asks for.")
        found[ipc] = ready
    return found


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


def _check_candidates(space: Space, splits: Splits, config: SearchConfig, methods: Sequence[RetrainingMethod]) -> None:
    """See that every architecture at the corners of the space can be trained, and be as sparse as it may have to be."""
    rewind_step, ladder, classes = config.screen.rewind_step, config.search.ladder.ipc, splits.train.classes
    candidates = [Candidate.parse(corner, classes) for corner in space.corners()]
    chosen = some_of(list(dict.fromkeys(_architecture(candidate) for candidate in candidates)))
    layers: dict[str, dict[str, int]] = {}
    highest = max(candidate.sparsity for candidate in candidates)
    for candidate in candidates:
        label, key = candidate.model.label(), _architecture(candidate)
        if key not in layers:
            recipes = (candidate.recipe, *(method.recipe for method in methods)) if key in chosen else ()
            criterion = CRITERIA[config.screen.criterion]
            layers[key] = _layer_sizes(candidate.model, splits, criterion, methods, highest, *recipes)
        try:
            check_sparsity(candidate.sparsity, layers[key])
        except UserError as error:
            raise UserError(f"'space.sparsity' is impossible for {label}: {error}") from error
        for rung in candidate.rungs(ladder, classes):
            steps = rung.recipe.total_steps(rung.images(classes) or len(splits.train))
            if rewind_step >= steps:
                raise UserError(f"'screen.rewind_step' is {rewind_step}, but a round may have only {steps} steps.")


def _architecture(candidate: Candidate) -> str:
    """Return what tells a network, and how it is executed and by what of a user's own, from others."""
    recipe = candidate.recipe
    own = [getattr(recipe, key) for key in recipe.own_parts]
    return repr([candidate.model.to_dict(), recipe.mode, recipe.precision, own])


def _layer_sizes(
    spec: ModelSpec,
    splits: Splits,
    criterion: Criterion,
    methods: Sequence[RetrainingMethod],
    sparsity: float,
    *recipes: Recipe,
) -> dict[str, int]:
    with naming("'space.model'"):
        model = built(spec, splits, *recipes)
    with naming("'screen.criterion'"):
        check_criterion(criterion, model, splits.train.image_shape, Scope())
    with naming("'retrain.method'"):
        for method in methods:
            if method.settings is not None and not method.settings.starts_sparse:
                check_criterion(criterion_named(method.criterion), model, splits.train.image_shape, Scope(), sparsity)
    return {name: parameter.numel() for name, parameter in prunable_parameters(model).items()}


def _check_images_per_class(ipcs: tuple[int, ...], splits: Splits) -> None:
    smallest = min(len(splits.train.class_indices(label)) for label in range(splits.train.classes))
    for ipc in ipcs:
        if ipc > smallest:
            raise UserError(f"'space.ipc' asks for {ipc} images a class, but the smallest class has {smallest}.")
