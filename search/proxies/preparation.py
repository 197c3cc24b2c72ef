"""Everything that is checked before a proxy evaluation starts: nothing is left behind if a check fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from dp_core.data import Splits
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation import DistilledSet
from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError, naming, nearest
from dp_core.models import ARCHITECTURES
from dp_core.proxies import Proxy, ProxyInputs, TruthPlan
from dp_core.seeds import derive_seed
from dp_core.training import Recipe, rehearsed
from search.proxies.architecture import Architecture
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.names import reading_name
from search.proxies.pricing import architectures, known_names
from search.proxies.truth_cache import TruthCache
from search.proxies.truth_table import FEWEST, TruthTable, read_truth_table
from search.proxies.wanted import WantedEvaluation
from search.runs.checks import check_machine, scoring_images, some_of, sound_splits
from search.runs.folders import check_folder
from search.runs.images import ImageFacts, facts_of


@dataclass(frozen=True)
class ProxyDesign:
    """What an evaluation is about: enough to say what is done of it, without its images.

    `truth` is what is to be trained, or None where the accuracies come from `table`. `readings` are the names that the
    tables give the scores, by proxy and key.
    """

    config: ProxyEvaluationConfig
    images: ImageFacts
    sets: Mapping[str, DistilledSet]
    architectures: Sequence[Architecture]
    proxies: Mapping[str, Proxy]
    truth: TruthPlan | None
    table: TruthTable | None

    @property
    def wanted(self) -> WantedEvaluation:
        """What it is to score and to train."""
        return WantedEvaluation(tuple(self.architectures), self.images)

    @property
    def readings(self) -> dict[tuple[str, str], str]:
        """The names of all readings, by proxy and key."""
        return {(name, key): reading_name(name, key) for name, proxy in self.proxies.items() for key in proxy.keys}

    @property
    def foreign_sets(self) -> list[str]:
        """The sets that were not made from the training images, so that they may know those that score them.

        That is a matter of the validation fraction, the seed and the data: a set of this split says so in its card.
        """
        own = self.images.digest
        return [name for name, found in self.sets.items() if found.provenance.get("source_digest") != own]


@dataclass(frozen=True)
class ProxyPreparation(ProxyDesign):
    """A config that has been found sound, with what was read on the way."""

    splits: Splits
    inputs: ProxyInputs
    space: Standardisation


def prepare_proxies(config: ProxyEvaluationConfig, where: str, *, local: bool) -> ProxyPreparation:
    """Check `config`, read from `where`, against itself, the machine (if jobs run here: `local`) and the data.

    Raises:
        UserError: the first thing that cannot work.
    """
    with naming(where):
        proxies = config.parsed_proxies()
        if local:
            check_machine(config.resources)
    splits = sound_splits(config, where)
    space = standardisation_of(splits.train)
    with naming(where):
        scored = scoring_images(splits.validation, config.validation_images, config.run.seed)
        inputs = ProxyInputs(splits.train, scored, _sets(config), space)
        for name, proxy in proxies.items():
            with naming(f"'proxies.{name}'"):
                proxy.check(inputs)
    design = design_proxies(config, where, facts_of(splits))
    _rehearse(design, Recipe(steps=1) if design.truth is None else design.truth.recipe, where)
    if design.truth is not None:
        with naming(where):
            _check_folder(config.truth.directory, local=local)
    found = {field.name: getattr(design, field.name) for field in fields(design)}
    return ProxyPreparation(**found, splits=splits, inputs=inputs, space=space)


def design_proxies(config: ProxyEvaluationConfig, where: str, images: ImageFacts) -> ProxyDesign:
    """Return what a config, read from `where`, is about for such images.

    Raises:
        UserError: an architecture, a set, the table or a name that cannot be.
    """
    with naming(where):
        section, seed = config.space, derive_seed(config.run.seed, "space")
        table = None
        if config.truth.table is not None:
            columns = config.truth.architecture, config.truth.accuracy
            table = read_truth_table(config.truth.table, *columns, known=known_names(section))
        names = None if table is None else table.names
        found = architectures(section, seed, images.image_shape, images.classes, names)
        if len(found) < FEWEST:
            raise UserError(
                f"'space' has {len(found)} architectures: there is no correlation without its interval, "
                f"and no interval with fewer than {FEWEST}."
            )
        truth = config.truth.plan() if table is None else None
        design = ProxyDesign(config, images, _sets(config), found, config.parsed_proxies(), truth, table)
        _check_names(design)
    return design


def _rehearse(design: ProxyDesign, recipe: Recipe, where: str) -> None:
    """See that architectures of a user's own, or some of many, can be trained; ours take what they are built for."""
    own = [architecture.spec for architecture in design.architectures if architecture.spec.name not in ARCHITECTURES]
    with naming(f"{where}: 'space'"):
        for spec in some_of(own):
            rehearsed(spec, design.images.image_shape, design.images.classes, recipe)


def _check_folder(folder: Path, *, local: bool) -> None:
    """Raise UserError if trainings that have been kept cannot be read, or (if jobs run here) none can be added."""
    with naming("'truth.directory'"):
        TruthCache(folder, {})
    check_folder(folder, "truth.directory", written=local)


def _sets(config: ProxyEvaluationConfig) -> dict[str, DistilledSet]:
    return {name: _loaded(name, config) for name in config.chosen_sets}


def _loaded(name: str, config: ProxyEvaluationConfig) -> DistilledSet:
    with naming(f"'sets.{name}'"):
        return DistilledSet.load(config.chosen_sets[name])


def _check_names(prepared: ProxyDesign) -> None:
    """Raise UserError if two scores have one name, or a combination or the baseline names one that there is not."""
    config, names = prepared.config, list(prepared.readings.values())
    for name in config.chosen_combinations:
        if name in names:
            raise UserError(f"'combinations.{name}' has the name of a score.")
    for name, section in config.chosen_combinations.items():
        for part in section.of:
            if part not in names:
                known = ", ".join(names)
                raise UserError(
                    f"'combinations.{name}.of': there is no score '{part}'.{nearest(part, names)} Known: {known}."
                )
        count = len(prepared.architectures)
        if section.kind == "fitted" and section.folds > count:
            raise UserError(f"'combinations.{name}.folds' is {section.folds}, more than the {count} architectures.")
        if section.kind == "fitted" and section.labelled > count - -(-count // section.folds):
            raise UserError(
                f"'combinations.{name}.labelled' is {section.labelled}, more than the architectures outside one of "
                f"{section.folds} folds of {count}."
            )
    baseline = config.answers.baseline
    everything = [*names, *config.chosen_combinations]
    # The default is no wish: an evaluation may well do without that score.
    usual = type(config.answers).model_fields["baseline"].default
    if baseline not in (None, usual) and baseline not in everything:
        raise UserError(f"'answers.baseline': there is no score '{baseline}'.{nearest(baseline, everything)}")
