"""The config of a search: every key, its type, its default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from dp_core.errors import UserError
from dp_core.pruning import CRITERIA
from dp_core.training import Recipe
from search.config.distillers import DistillSection
from search.config.sections import DataSection, NamedRunSection, Section, one_of
from search.study.samplers import SAMPLERS
from trainables.settings import parse_settings


class RunSection(NamedRunSection):
    """The run directory, the seed and the storage."""

    storage: str | None = None
    """Where trials keep their checkpoints: a folder that all nodes see, or a bucket URL such as s3://bucket/path;
    null keeps them in the run directory, which is right on one machine."""


class SearchDistillSection(DistillSection):
    """How the `distilled` source is made; as many sets as there are values of `ipc`."""

    sets: tuple[Path, ...] = ()
    """Ready-made sets (`<name>.safetensors` with the card beside it), each instead of the one that would be made for
    the `ipc` that it has."""


class ScreenSection(Section):
    """The pruning rounds of a trial."""

    prune_fraction: float = Field(default=0.28, ge=0.001, lt=1)
    """Share of the remaining weights that a round removes; the default reaches 80, 90 and 95 % in about five, seven and
    nine rounds."""
    criterion: str = "magnitude"
    """`magnitude` (smallest over the whole network), `magnitude_layerwise`, `random`, `random_erk`, `snip`, `grasp` or
    `synflow`."""
    rewind_step: int = Field(default=0, ge=0)
    """Step of the first round that every later round starts from; 0 is initialisation."""
    replicates: int = Field(default=1, ge=1)
    """How often each candidate is pruned, from other initial weights and in another data order. The proxy accuracy is
    the mean over the replicates, with its standard error, and the ticket is that of the best of them on the held-back
    images. On a CPU they are trained one after the other, on a GPU side by side where the network allows it."""
    validation_images: int | None = Field(default=None, ge=1)
    """How many of the held-back images score a proxy, balanced over classes; null is all of them."""

    @field_validator("criterion")
    @classmethod
    def _known(cls, criterion: str) -> str:
        return one_of(criterion, CRITERIA)


class ScoreSection(Section):
    """What the search maximises: proxy accuracy × (parameters left / target_parameters)^exponent (MnasNet, Eq. 2)."""

    target_parameters: int = Field(default=100_000, ge=1)
    """Parameters at which the score is the accuracy."""
    exponent: float = Field(default=0.0, le=0)
    """0 maximises accuracy alone; at -0.07 twice the parameters must earn 5 % (relative) more accuracy."""


class EarlyStoppingSection(Section):
    """When a trial is stopped before its last round; it is compared with trials of its own source only."""

    method: Literal["successive_halving", "median", "none"] = "successive_halving"
    """`successive_halving` (asynchronous, ASHA), `median` (worse than the median at the same round) or `none`."""
    first_round: int = Field(default=2, ge=1)
    """Round after which a trial may first be stopped."""
    reduction_factor: int = Field(default=2, ge=2)
    """ASHA: of the trials at a rung one in so many goes on, and rungs are this factor of rounds apart."""


class SearchSection(Section):
    """What is proposed, and how many trials run where."""

    trials: int = Field(default=24, ge=1)
    """Candidates to screen; the sources of the space take turns."""
    concurrency: int = Field(default=2, ge=1)
    """Trials that run at a time."""
    cpus_per_trial: int = Field(default=1, ge=1)
    """CPU cores, and so threads, of a trial."""
    gpus_per_trial: float = Field(default=0, ge=0)
    """GPUs of a trial; 0.25 lets four trials share one."""
    sampler: str = "tpe"
    """`tpe` (Optuna's, for conditional spaces), `random`, or `qmc` (quasi-random)."""
    startup_trials: int = Field(default=10, ge=1)
    """TPE: random trials of each source before the model takes over."""
    max_failures: int = Field(default=2, ge=0)
    """How often a trial whose worker is lost is taken up again from its last checkpoint."""
    score: ScoreSection = Field(default_factory=ScoreSection)
    """What is maximised."""
    early_stopping: EarlyStoppingSection = Field(default_factory=EarlyStoppingSection)
    """When a trial is stopped early."""

    @field_validator("sampler")
    @classmethod
    def _known(cls, sampler: str) -> str:
        return one_of(sampler, SAMPLERS)


class PromoteSection(Section):
    """Which tickets are retrained."""

    top: int = Field(default=3, ge=1)
    """How many tickets are retrained: those of highest score, the sources of the space taking turns."""


class RealTrainingSection(Section):
    """How tickets are trained on the real training images."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the training images."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """The recipe: optimizer, learning_rate, momentum, weight_decay, schedule, batch_size, augmentation,
    label_smoothing, precision."""

    def parsed_recipe(self) -> Recipe:
        """Return the recipe; UserError if a setting is none of a recipe's."""
        if "epochs" in self.recipe or "steps" in self.recipe:
            raise UserError("The length of a retraining is 'retrain.epochs', not a key of 'retrain.recipe'.")
        return parse_settings(Recipe, {**self.recipe, "epochs": float(self.epochs)}, "retrain.recipe")


class RetrainSection(RealTrainingSection):
    """How tickets are trained on the real training images, and how often."""

    seeds: int = Field(default=1, ge=1)
    """Retrainings of each ticket; they differ in data order and augmentation."""


class SearchConfig(Section):
    """A whole search: what `winnow search` reads."""

    run: RunSection
    """The run directory and the seed."""
    data: DataSection
    """The images."""
    distill: SearchDistillSection = Field(default_factory=SearchDistillSection)
    """How distilled sets are made."""
    space: dict[str, Any]
    """What may vary: `model`, `sparsity`, `source` (`distilled`, `subset` or `real`), `ipc`, `image_gradients` and
    `recipe`. Without `source` it is `distilled` where there is an `ipc` and else `real`; without a length a round has
    10,000 image-gradients. A leaf is a constant or one of `{int: [low, high]}`, `{float: [low, high]}`,
    `{choice: [...]}`, with `log: true`, `step: ...` and `when: {name: value}` where wanted."""
    screen: ScreenSection = Field(default_factory=ScreenSection)
    """The pruning rounds of a trial."""
    search: SearchSection = Field(default_factory=SearchSection)
    """What is proposed, and how many trials run where."""
    promote: PromoteSection = Field(default_factory=PromoteSection)
    """Which tickets are retrained."""
    retrain: RetrainSection = Field(default_factory=RetrainSection)
    """How tickets are retrained."""
