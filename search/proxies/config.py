"""The config of a proxy evaluation: every key, its type, its default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from dp_core.errors import UserError
from dp_core.proxies import PROXIES, TruthPlan
from dp_core.training import Recipe
from search.config.meaning import FREE, PLACE
from search.config.sections import (
    PLAIN_NAMES,
    REST_OF_RECIPE,
    SOME_LEFT,
    ImagesSection,
    NamedRunSection,
    ResourcesSection,
    RunConfigWithSets,
    Section,
    chosen,
    one_of,
)
from search.proxies.space import SpaceSection
from trainables.trials.settings import parse_settings

if TYPE_CHECKING:
    from dp_core.proxies import Proxy


class ProxySection(Section):
    """One cheap score."""

    kind: str | None = None
    """What it is, one of those below; null takes the entry's own name."""
    replicates: int = Field(default=1, ge=1)
    """How often each architecture is scored, from other initial weights, images and data orders; the value is the mean,
    the cost the sum."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The kind's own settings, such as `steps`."""


class CombinationSection(Section):
    """Several scores made one."""

    kind: Literal["rank_average", "fitted"] = "rank_average"
    """`rank_average`, the mean of the ranks; or `fitted`, a ridge regression of the accuracy on the ranks, fitted to a
    few labelled architectures and used on others."""
    of: tuple[str, ...] = Field(min_length=2)
    """The scores, as the tables name them: `nwot`, `distilled@30`."""
    labelled: int = Field(default=20, ge=5)
    """`fitted`: how many architectures have been trained to fit it; their trainings count in its cost."""
    folds: int = Field(default=5, ge=2)
    """`fitted`: architectures are predicted in so many parts, each by a model that saw none of the part."""


class TruthSection(Section):
    """What the scores are judged by: a table of yours, or trainings on the real training images and the test images."""

    table: Annotated[Path | None, PLACE] = None
    """Parquet or CSV file with a row for each architecture; null trains them here."""
    architecture: str = "arch_str"
    """`table`: its column of architectures, as the space names them."""
    accuracy: str = "accuracy"
    """`table`: its column of accuracies, as fractions or in per cent."""
    image_gradients: int | None = Field(default=None, ge=1)
    """`table`: image-gradients of one training behind it, for the cost of training the architectures; null leaves that
    cost, and what rests on it, out."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps of a training; give these or `epochs`."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training images."""
    recipe: Annotated[dict[str, Any], REST_OF_RECIPE] = Field(default_factory=dict)
    """The rest of a training's recipe, on top of AdamW, one-cycle, flips and crops."""
    learning_rate: float | tuple[float, ...] = (5e-4, 2e-3, 8e-3)
    """Of a list the one with which a short training is best on the validation images, for each architecture."""
    tuning: float = Field(default=0.2, gt=0, le=1)
    """Length of these short trainings, as a share of the full one."""
    seeds: int = Field(default=1, ge=1)
    """Full trainings of each architecture; the truth is their mean."""
    directory: Annotated[Path, PLACE] = Path("truth")
    """Folder in which trainings are kept, and found again by all that they depend on: they are paid for once."""

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to choose from."""
        return self.learning_rate if isinstance(self.learning_rate, tuple) else (self.learning_rate,)

    def parsed_recipe(self) -> Recipe:
        """Return the recipe of a full training with the first of the rates; UserError if it cannot be."""
        for key in ("steps", "epochs", "learning_rate"):
            if key in self.recipe:
                raise UserError(f"'{key}' stands in 'truth', not in 'truth.recipe'.")
        if not self.rates:
            raise UserError("'truth.learning_rate' is an empty list.")
        usual = {"optimizer": "adamw", "schedule": "one_cycle", "batch_size": 128, "augmentation": "flip_crop"}
        length = {"steps": self.steps, "epochs": self.epochs}
        return parse_settings(
            Recipe, {**usual, **self.recipe, **length, "learning_rate": self.rates[0]}, "truth.recipe"
        )

    def plan(self) -> TruthPlan:
        """Return how a true accuracy is found by training; UserError if it cannot be."""
        return TruthPlan(self.parsed_recipe(), self.rates, self.tuning, self.seeds)

    @model_validator(mode="after")
    def _of_one_kind(self) -> TruthSection:
        changed = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        changed -= {"recipe"} if not self.recipe else set()
        if self.table is None:
            if (self.steps is None) == (self.epochs is None):
                raise ValueError("needs either a table, or steps, or epochs")
            useless = sorted(changed & {"architecture", "accuracy", "image_gradients"})
            if useless:
                raise ValueError(f"has no table, so that {useless[0]} has no meaning")
        else:
            useless = sorted(changed & {"steps", "epochs", "recipe", "learning_rate", "tuning", "seeds"})
            if useless:
                raise ValueError(f"has a table, so that {useless[0]} has no meaning: set it to its default")
        return self


class AnswersSection(Section):
    """What is made of the scores."""

    baseline: str | None = "parameters"
    """The score that every other one is held against: a proxy that does not beat it has not earned its cost."""
    resamples: int = Field(default=2000, ge=100, le=100_000)
    """Bootstrap resamples of the architectures behind every 95 % interval."""
    within: float = Field(default=0.005, ge=0, lt=1)
    """How near, as a fraction, the chosen architecture's accuracy must come to the best one's in the table of what
    budget a proxy deserves."""


class ProxyEvaluationConfig(RunConfigWithSets):
    """A whole proxy evaluation: what `winnow proxy-eval` reads."""

    kind: ClassVar[str] = "proxies"
    words: ClassVar[str] = "a proxy evaluation"

    run: NamedRunSection
    """The run directory and the seed."""
    data: ImagesSection
    """The images."""
    space: SpaceSection = Field(default_factory=SpaceSection)
    """The architectures."""
    proxies: Annotated[dict[str, ProxySection | None], PLAIN_NAMES, SOME_LEFT] = Field(min_length=1)
    """The scores by names of yours; null takes one out."""
    combinations: Annotated[dict[str, CombinationSection | None], PLAIN_NAMES] = Field(default_factory=dict)
    """Scores made of several, by names of yours."""
    validation_images: int | None = Field(default=2000, ge=1)
    """How many of the held-back images score a trained proxy, balanced over classes; null is all of them."""
    truth: TruthSection
    """What the scores are judged by."""
    answers: AnswersSection = Field(default_factory=AnswersSection)
    """What is made of the scores."""
    resources: Annotated[ResourcesSection, FREE] = Field(default_factory=ResourcesSection)
    """What runs where."""

    @field_validator("proxies")
    @classmethod
    def _known(cls, named: dict[str, ProxySection | None]) -> dict[str, ProxySection | None]:
        for name, section in chosen(named).items():
            one_of(section.kind or name, PROXIES)
        return named

    def check(self) -> None:
        """See `RunConfig`."""
        if self.truth.table is None:
            self.truth.plan()

    @property
    def chosen_proxies(self) -> dict[str, ProxySection]:
        """The proxies that are not null."""
        return chosen(self.proxies)

    @property
    def chosen_combinations(self) -> dict[str, CombinationSection]:
        """The combinations that are not null."""
        return chosen(self.combinations)

    def parsed_proxies(self) -> dict[str, Proxy]:
        """Return the proxies by name; UserError if a setting is none of its kind's."""
        return {
            name: parse_settings(PROXIES[section.kind or name], section.settings, f"proxies.{name}.settings")
            for name, section in self.chosen_proxies.items()
        }
