"""The config of a comparison of pruning methods: every key, its type, its default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from dp_core.data.reading import Stream
from dp_core.errors import naming
from dp_core.pruning.criteria.registry import check_criterion_name
from search.config.distillers import DistillSection
from search.config.meaning import FIXED, FREE, PLACE
from search.config.retraining import RealTrainingSection
from search.config.sections import (
    PLAIN_NAMES,
    REST_OF_RECIPE,
    SOME_LEFT,
    WHOLE_RECIPE,
    DataSection,
    NamedRunSection,
    ResourcesSection,
    RunConfigWithSets,
    Section,
    chosen,
)
from trainables.laboratory import Kind


class ComparisonRunSection(NamedRunSection):
    """The run directory and the seeds."""

    seed: Annotated[int, FIXED] = Field(default=0, ge=0)
    """The seed that every random choice of the comparison follows from: validation split, distilled sets, and those of
    each of its `seeds`."""
    seeds: int = Field(default=3, ge=1)
    """How often everything is done: each seed has its own initial weights, data orders and random subset, which all
    methods share. Seeds come one after the other, so that an unfinished comparison has whole seeds."""


class ComparisonDataSection(DataSection):
    """The images."""

    validation: Annotated[float, FIXED] = Field(default=0.1, gt=0, lt=1)
    """Fraction of every class of the training images that is held back, to choose learning rates, to notice dead
    networks and to measure error barriers; never trained on."""
    stream: Stream = "auto"
    """Whether real training images come to a job's device piece by piece: `auto` (if they take more than half of a
    GPU's free memory), `always` or `never`. Streamed images come in another order, so set `always` or `never` where a
    comparison must be repeatable bit for bit on a GPU whose free memory varies."""


class ScopeSection(Section):
    """Which weights are prunable, by shell patterns on their names; sparsity is the fraction of these."""

    include: tuple[str, ...] = ("*",)
    """Names that are, among the weights that multiply activations."""
    exclude: tuple[str, ...] = ()
    """Names that are not, such as `classifier.*`."""


class MethodSection(Section):
    """One way to find tickets."""

    kind: Kind = "iterative"
    """`iterative` (train, prune, rewind, and again), `at_initialisation` (one mask from the untrained network), `dense`
    (no mask); in one training, without a search for tickets, `gradual` (pruned on the way along a cubic schedule),
    `one_shot` (trained dense, pruned once, fine-tuned) or `rigl` (sparse from the start, weights dropped and grown); or
    a control of the method `of`: `reinitialised` (its masks on fresh weights), `shuffled` (its masks shuffled inside
    each layer) or `rewound` (its masks on the weights that the dense network has at `rewind_step` or after
    `rewind_epochs` of its final training)."""
    criterion: str | None = None
    """`magnitude`, `magnitude_layerwise`, `random`, `random_erk`, `snip`, `grasp`, `synflow`; `channels`, whole ones by
    the mean square of their weights; or a pattern such as `"2:4"`, which has one sparsity of its own, in quotes, since
    YAML reads 2:4 as a number. null is `magnitude`; of `rigl`, where it makes the mask to start from, `random_erk`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of `gradual`: `begin` and `end`, shares of the training (0.05, 0.8), and `every`, from one pruning to the next, a
    share of the training or from 1 on steps (0.075). Of `one_shot`: `at`, a share of the training (0.3). Of `rigl`:
    `alpha`, the share of weights that the first update moves (0.3), `begin`, `end` (0, 0.75) and `every` (0.05)."""
    source: str | None = None
    """What the rounds train on: `real`, `subset` (random images, drawn anew for each seed), `distilled`, or one of
    `sets`. For `at_initialisation` what the criterion sees, by default real images."""
    ipc: int | None = Field(default=None, ge=1)
    """Images per class of a `subset` or of the `distilled` set."""
    space: str | None = None
    """Of `real` or `subset`: one of `sets`, whose preprocessing the images of the rounds get, for a comparison with
    that set in its own space; null standardises them, as the final training does."""
    steps: int | tuple[int, ...] | None = None
    """Optimiser steps of a round; of a list each makes a method of its own, named `<method>-<steps>`."""
    epochs: float | None = Field(default=None, gt=0)
    """Instead of `steps`: passes over the source a round."""
    learning_rate: float | tuple[float, ...] | Literal["learned"] | None = None
    """Of a round, instead of the recipe's. Of a list the one whose tickets, trained like any other, are best on the
    validation images over all sparsities, for each network and number of steps; they are others than those that are
    compared, so a list of n takes the time of n more seeds. `learned` is the distilled set's own."""
    recipe: Annotated[dict[str, Any], REST_OF_RECIPE] = Field(default_factory=dict)
    """The rest of a round's recipe, on top of `round_recipe`."""
    rewind_step: int = Field(default=0, ge=0)
    """Step of the first round that every later round, and the ticket, starts from; 0 is initialisation. If the rounds
    train on real images, the final training goes on from there: it does as many steps less."""
    rewind_epochs: float | None = Field(default=None, gt=0)
    """Instead of `rewind_step`: passes over the source."""
    prune_fraction: float | None = Field(default=None, ge=0.001, lt=1)
    """Instead of the comparison's `prune_fraction`."""
    sparsities: tuple[float, ...] | None = None
    """Instead of the comparison's `sparsities`."""
    of: str | None = None
    """Of a control: the method whose tickets it is about."""
    start_from: str | None = None
    """Of an iterative method, `gradual` or `one_shot`: the method whose ticket of `start_sparsity` it starts from, such
    as real data on top of a distilled mask. Of `rigl`: the method whose tickets' masks it starts from, each at its own
    sparsity."""
    start_sparsity: float | None = Field(default=None, gt=0, lt=1)
    """See `start_from`."""


class FinalTrainingSection(RealTrainingSection):
    """How every ticket is trained on the real training images."""

    learning_rate: float | tuple[float, ...] | None = None
    """Instead of the recipe's. Of a list the one whose dense network is best on the validation images, for each
    network; it is then that of all its tickets, see `rate_of_each`."""
    rate_of_each: bool = False
    """Of several learning rates: whether each method has its own, the one with which its ticket of middle sparsity is
    best on the validation images, with other weights and in another order than those that are compared."""
    masks_count: bool = False
    """Whether what a mask has cost in image-gradients is taken off its final training, so that all methods spend the
    same in total. What leaves nothing to train with has the status `unaffordable`."""


class StabilitySection(Section):
    """What is measured of trained tickets beside their accuracy."""

    barrier_at: tuple[float, ...] = ()
    """Sparsities whose tickets are trained a second time in another data order, for the error barrier on the straight
    line between the two; 0 is the dense network."""
    points: int = Field(default=11, ge=3)
    """Points of that line."""
    eigenvalue_at: tuple[float, ...] = ()
    """Sparsities at which the top eigenvalue of the Hessian of the training loss is found."""
    images: int = Field(default=1000, ge=1)
    """Training images for the eigenvalue, and for BatchNorm statistics on the line."""


class ComparisonConfig(RunConfigWithSets):
    """A whole comparison: what `winnow prune` reads."""

    kind: ClassVar[str] = "comparison"
    words: ClassVar[str] = "a comparison of ways to prune"

    run: ComparisonRunSection
    """The run directory and the seeds."""
    data: ComparisonDataSection
    """The images."""
    distill: DistillSection = Field(default_factory=DistillSection)
    """How the `distilled` source is made; as many sets as methods have values of `ipc`."""
    models: Annotated[dict[str, dict[str, Any] | None], PLAIN_NAMES, SOME_LEFT] = Field(min_length=1)
    """Networks by a name of yours, each with `name` and hyperparameters; one after the other."""
    scope: ScopeSection = Field(default_factory=ScopeSection)
    """Which weights are prunable."""
    sparsities: tuple[float, ...] = Field(min_length=1)
    """Sparsities of the tickets, rising; every iterative method passes exactly through them."""
    prune_fraction: float = Field(default=0.2, ge=0.001, lt=1)
    """Share of the remaining weights that a round removes, as nearly as the sparsities allow."""
    round_recipe: Annotated[dict[str, Any], WHOLE_RECIPE] = Field(default_factory=dict)
    """What the rounds of all methods have in common; each may say otherwise in its `recipe`."""
    round_images: int = Field(default=1000, ge=1)
    """Validation images that each round is scored on, to notice a dead network."""
    methods: Annotated[dict[str, MethodSection | None], PLAIN_NAMES, SOME_LEFT] = Field(min_length=1)
    """The methods by name, in the order in which they are done."""
    retrain: FinalTrainingSection = Field(default_factory=FinalTrainingSection)
    """How every ticket is trained on the real training images."""
    published: Annotated[Path | None, PLACE] = None
    """CSV file of curves to be drawn dotted beside ours, with the columns `method`, `sparsity` and
    `test_accuracy_mean`, both in [0, 1]; other columns are not read."""
    stability: StabilitySection = Field(default_factory=StabilitySection)
    """What is measured of trained tickets beside their accuracy."""
    resources: Annotated[ResourcesSection, FREE] = Field(default_factory=ResourcesSection)
    """What runs where."""

    def check(self) -> None:
        """See `RunConfig`."""
        self.retrain.parsed_recipe()
        for family, section in self.chosen_methods.items():
            with naming(f"'methods.{family}'"):
                check_criterion_name(section.criterion or "magnitude")

    @property
    def chosen_models(self) -> dict[str, dict[str, Any]]:
        """The networks that are not null."""
        return chosen(self.models)

    @property
    def chosen_methods(self) -> dict[str, MethodSection]:
        """The methods that are not null."""
        return chosen(self.methods)
