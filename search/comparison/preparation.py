"""Everything that is checked before a comparison starts: nothing is left behind if a check fails."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from dp_core.data import Splits
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation import DistilledSet, Distiller
from dp_core.distillation.base import check_images_per_class, standardisation_of
from dp_core.errors import UserError, naming
from dp_core.models import ModelSpec, build
from dp_core.pruning import Mask, Scope, check_criterion, criterion_named
from dp_core.training import Recipe, rehearsed
from search.comparison.config import ComparisonConfig
from search.comparison.figures import Published
from search.comparison.methods import Setting, learning_rates, methods_of
from search.comparison.planning import Plan
from search.comparison.published import read_published
from search.comparison.statistics import rounded
from search.comparison.wanted import WantedComparison
from search.runs.checks import built, check_machine, sound_splits
from search.runs.images import ImageFacts, facts_of
from trainables.laboratory import ComparisonFiles, Method


@dataclass(frozen=True)
class ComparisonDesign:
    """What a comparison is about: enough to say what is done of it, without its images.

    `sizes` has for each network its `prunable_parameters` and all `parameters`. `barrier_at` and `eigenvalue_at` are
    the methods' own targets: those of a pattern such as 2:4 have more digits than anybody types.
    """

    config: ComparisonConfig
    images: ImageFacts
    distiller: Distiller
    sets: Mapping[str, DistilledSet]
    networks: Mapping[str, ModelSpec]
    methods: Mapping[str, Mapping[str, Method]]
    recipe: Recipe
    learning_rates: tuple[float, ...]
    scope: Scope
    sizes: Mapping[str, Mapping[str, int]]
    published: Sequence[Published]
    barrier_at: tuple[float, ...]
    eigenvalue_at: tuple[float, ...]

    @property
    def wanted(self) -> WantedComparison:
        """What its jobs follow from."""
        several, each = len(self.learning_rates) > 1, self.config.retrain.rate_of_each
        return WantedComparison.of(self.methods, self.config.run.seeds, tuned=several, rate_of_each=each)

    def plan(self, folder: Path) -> Plan:
        """Return the jobs of the comparison in `folder`."""
        several, each, files = len(self.learning_rates) > 1, self.config.retrain.rate_of_each, ComparisonFiles(folder)
        return Plan(self.methods, self.config.run.seeds, files, tune_final=several, rate_of_each=each)

    @property
    def images_per_class(self) -> tuple[int, ...]:
        """The sizes of distilled sets that methods ask for."""
        sections = self.config.chosen_methods.values()
        return tuple(dict.fromkeys(s.ipc for s in sections if s.source == "distilled" and s.ipc is not None))


@dataclass(frozen=True)
class ComparisonPreparation(ComparisonDesign):
    """A config that has been found sound, with what was read on the way."""

    splits: Splits
    space: Standardisation


def prepare_comparison(config: ComparisonConfig, where: str, *, local: bool) -> ComparisonPreparation:
    """Check `config`, read from `where`, against itself, the machine (if jobs run here: `local`) and the data.

    Raises:
        UserError: the first thing that cannot work.
    """
    with naming(where):
        distiller = config.distill.distiller()
        recipe, _ = _final_recipe(config)
        if local:
            check_machine(config.resources)
    splits = sound_splits(config, where)
    space = standardisation_of(splits.train)
    with naming(where):
        models = {}
        for name, given in config.chosen_models.items():
            with naming(f"'models.{name}'"):
                models[name] = built(ModelSpec.from_dict(given), splits, recipe)
    design = design_comparison(config, where, facts_of(splits))
    with naming(where):
        for name, methods in design.methods.items():
            rounds = [method.recipe for method in methods.values() if method.recipe is not None]
            with naming(f"'models.{name}'"):
                rehearsed(design.networks[name], splits.train.image_shape, splits.train.classes, *rounds)
            for method in methods.values():
                with naming(f"'methods.{method.family}' on '{name}'"):
                    highest = max(method.sparsities, default=0.0)
                    shape, scope = splits.train.image_shape, design.scope
                    check_criterion(criterion_named(method.criterion), models[name], shape, scope, highest)
        for family, section in config.chosen_methods.items():
            if section.ipc is not None:
                with naming(f"'methods.{family}.ipc'"):
                    check_images_per_class(splits.train, section.ipc)
                    if section.source == "distilled":
                        distiller.check(splits.train, section.ipc)
    found = {field.name: getattr(design, field.name) for field in fields(design)}
    return ComparisonPreparation(**found, splits=splits, space=space)


def design_comparison(config: ComparisonConfig, where: str, images: ImageFacts) -> ComparisonDesign:
    """Return what a config, read from `where`, is about for such images.

    Raises:
        UserError: a method, set or network that cannot be.
    """
    with naming(where):
        recipe, rates = _final_recipe(config)
        scope = Scope(config.scope.include, config.scope.exclude)
        sets = {name: _ready_set(name, config, images) for name in config.chosen_sets}
        networks, methods, sizes = {}, {}, {}
        for name, given in config.chosen_models.items():
            with naming(f"'models.{name}'"):
                networks[name] = ModelSpec.from_dict(given)
                model = build(networks[name], images.image_shape, images.classes, seed=0)
                dense = Mask.ones(model, scope)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            sizes[name] = {"prunable_parameters": dense.total, "parameters": parameters}
            methods[name] = methods_of(Setting(config, dense, images.train, images.classes, sets, recipe))
        barrier_at, eigenvalue_at = (_targets(key, config, methods) for key in ("barrier_at", "eigenvalue_at"))
        return ComparisonDesign(
            config=config,
            images=images,
            distiller=config.distill.distiller(),
            sets=sets,
            networks=networks,
            methods=methods,
            recipe=recipe,
            learning_rates=rates,
            scope=scope,
            sizes=sizes,
            published=() if config.published is None else read_published(config.published),
            barrier_at=barrier_at,
            eigenvalue_at=eigenvalue_at,
        )


def _final_recipe(config: ComparisonConfig) -> tuple[Recipe, tuple[float, ...]]:
    """Return the recipe of the final training with the first of the learning rates to choose from, and all of them."""
    given, recipe = config.retrain.learning_rate, config.retrain.parsed_recipe()
    if given is None:
        return recipe, (recipe.learning_rate,)
    if "learning_rate" in config.retrain.recipe:
        raise UserError("'learning_rate' stands in 'retrain' or in 'retrain.recipe', not in both.")
    rates = learning_rates(given, "retrain.learning_rate")
    with naming("'retrain'"):
        recipes = [replace(recipe, learning_rate=rate) for rate in rates]
    return recipes[0], rates


def _ready_set(name: str, config: ComparisonConfig, images: ImageFacts) -> DistilledSet:
    with naming(f"'sets.{name}'"):
        if name in ("real", "subset", "distilled") or re.fullmatch(r"distilled-\d+", name):
            raise UserError("this name is taken: real, subset, distilled and distilled-<ipc> are Winnow's own.")
        found = DistilledSet.load(config.chosen_sets[name])
        found.check_fits(images.image_shape, images.class_names)
    return found


def _targets(key: str, config: ComparisonConfig, methods: Mapping[str, Mapping[str, Method]]) -> tuple[float, ...]:
    """Return the methods' targets that a key of 'stability' means: those that agree to six digits.

    Raises:
        UserError: there is no ticket of such a sparsity, and so nothing to be measured.
    """
    there = {target for found in methods.values() for method in found.values() for target in method.sparsities}
    meant: list[float] = []
    for wanted in getattr(config.stability, key):
        found = sorted(exact for exact in there if rounded(exact) == rounded(wanted))
        if not found:
            offered = ", ".join(f"{target:g}" for target in sorted(set(map(rounded, there))))
            raise UserError(f"'stability.{key}': no method has a ticket of sparsity {wanted}, only of {offered}.")
        meant.extend(found)
    return tuple(dict.fromkeys(meant))
