"""The config of a search: every key, its type, its default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from dp_core.pruning import CRITERIA
from dp_core.training import Recipe
from search.config.distillers import DistillSection
from search.config.former import Former, by_stem
from search.config.keys import Holds
from search.config.meaning import ASKED, FIXED, FREE, SCORES, Meaning
from search.config.objectives import OBJECTIVES
from search.config.retraining import RetrainSection
from search.config.sections import (
    DataSection,
    NamedRunSection,
    ResourcesSection,
    RunConfigWithSets,
    Section,
    one_of,
)


class RunSection(NamedRunSection):
    """The run directory, the seed and the storage."""

    storage: str | None = None
    """Where trials keep their checkpoints: a folder that all nodes see, or a bucket URL such as s3://bucket/path;
    null keeps them in the run directory, which is right on one machine."""


class ScreenSection(Section):
    """The pruning rounds of a trial."""

    prune_fraction: Annotated[float, SCORES] = Field(default=0.28, ge=0.001, lt=1)
    """Share of the remaining weights that a round removes; the default reaches 80, 90 and 95 % in about five, seven and
    nine rounds."""
    criterion: Annotated[str, SCORES] = "magnitude"
    """`magnitude` (smallest over the whole network), `magnitude_layerwise`, `random`, `random_erk`, `snip`, `grasp` or
    `synflow`."""
    rewind_step: Annotated[int, SCORES] = Field(default=0, ge=0)
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
    """When a trial is stopped before its last round; it is compared with trials of its own source and fidelity only."""

    method: Literal["successive_halving", "median", "none"] = "successive_halving"
    """`successive_halving` (asynchronous, ASHA; with several objectives trials are ranked by non-dominated sorting,
    MO-ASHA), `median` (worse than the median at the same round; one objective only) or `none`."""
    first_round: int = Field(default=2, ge=1)
    """Round after which a trial may first be stopped."""
    reduction_factor: int = Field(default=2, ge=2)
    """ASHA: of the trials at a rung one in so many goes on, and rungs are this factor of rounds apart."""


class ConstraintsSection(Section):
    """What a candidate must keep to. Proposals that cannot are rejected before they are trained, and cost nothing."""

    max_parameters: int | None = Field(default=None, ge=1)
    """Most parameters left after pruning."""
    max_flops: int | None = Field(default=None, ge=1)
    """Most FLOPs remaining after pruning. Which weights will be left is not known before: a proposal is rejected if
    even the cheapest ones are too many, and a pruned candidate above the limit is not promoted."""
    min_sparsity: float | None = Field(default=None, ge=0, lt=1)
    """Least sparsity."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Most milliseconds of a forward pass of one image on the device that drives the search, the dense network."""


class StartSection(Section):
    """What the search knows before its first trial."""

    points: tuple[dict[str, Any], ...] = ()
    """Candidates to try first: searched parameters by dotted or nested name, such as `{sparsity: 0.9, model: {width:
    32}}`; what a point does not name is sampled."""
    runs: tuple[Path, ...] = ()
    """Earlier runs on the same data whose trials the sampler learns from, where they are points of this space."""


class LadderSection(Section):
    """Cheaper looks at a candidate before its own screening, and a dearer one after it.

    After each rung only the best of its source go on, one in `early_stopping.reduction_factor`.
    """

    zero_cost: Annotated[str | None, SCORES] = None
    """A score of the untrained network as the first rung: `parameters`, `flops`, `synflow`, `nwot` or another proxy
    that does not train."""
    ipc: Annotated[tuple[int, ...], SCORES] = ()
    """Images a class that distilled and subset candidates are pruned on first, such as [1, 10], before the `ipc` of
    their own: those below it."""
    real_epochs: Annotated[int, SCORES] = Field(default=0, ge=0)
    """Epochs of training on real images, by `retrain.recipe`, as the last rung: its validation accuracy is then the
    proxy accuracy, on one scale for all sources."""


class SearchSection(Section):
    """What is proposed, and what becomes of it."""

    trials: int = Field(default=24, ge=1)
    """Different candidates to screen; the sources of the space take turns. What is proposed again is not trained again
    and does not count, and a space with fewer candidates ends the search when all have been tried."""
    objectives: Annotated[tuple[str, ...], FIXED] = ("score",)
    """What is optimised, one or several: `score`, `accuracy` (proxy accuracy), `sparsity` (these three are maximised),
    `parameters` (left), `flops` (remaining), `latency`, `seconds` or `image_gradients` of screening (minimised)."""
    sampler: str = "auto"
    """`auto` (Optuna's TPE, on a bounded history beyond 300 trials), `tpe` (on the whole history: slow beyond a
    thousand trials), `gp`, `nsga2`, `cmaes`, `random`, `qmc` (quasi-random), `grid`, `optunahub:package:Class`, or
    your own `package.module:function`, which is called with the keyword `seed` and returns an Optuna sampler."""
    startup_trials: int = Field(default=10, ge=1)
    """Random trials of each source before a model takes over."""
    start: StartSection = Field(default_factory=StartSection)
    """What the search knows before its first trial."""
    constraints: Annotated[ConstraintsSection, FIXED] = Field(default_factory=ConstraintsSection)
    """What a candidate must keep to."""
    score: Annotated[ScoreSection, FIXED] = Field(default_factory=ScoreSection)
    """How the objective `score` is computed."""
    early_stopping: EarlyStoppingSection = Field(default_factory=EarlyStoppingSection)
    """When a trial is stopped early."""
    ladder: Annotated[LadderSection, FIXED] = Field(default_factory=LadderSection)
    """Cheaper looks first."""
    storage: Annotated[str | None, FIXED] = None
    """Where the study is recorded: null is a journal in the run directory, or an Optuna database URL such as
    sqlite:///study.db or postgresql://user@host/name. The URL stands in run.yaml: keep a password out of it."""
    round_seconds: float | None = Field(default=3600.0, gt=0)
    """Seconds that one round of a trial may take before the trial is taken to hang, and fails; null waits for ever."""
    failures_in_a_row: int = Field(default=10, ge=1)
    """After so many failed trials in a row the run stops, and says how many and why the last; of the tickets that come
    to nothing when they are retrained, so many are replaced by others."""

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, objectives: tuple[str, ...]) -> tuple[str, ...]:
        if not objectives or len(set(objectives)) < len(objectives):
            raise ValueError("must name one objective or several different ones")
        return tuple(one_of(name, OBJECTIVES) for name in objectives)


class PromoteSection(Section):
    """Which tickets are retrained."""

    top: int = Field(default=3, ge=1)
    """How many tickets are retrained, the sources of the space taking turns."""
    by: Literal["score", "pareto", "sparsity"] = "score"
    """Which: those of highest `score` (of the first objective, where there are several); `pareto`, a choice of the
    Pareto front of all objectives that dominates the largest hypervolume; `sparsity`, the best in each of `top` equal
    buckets of sparsity."""
    audit: int = Field(default=2, ge=0)
    """Tickets retrained beside these, drawn at random from all that were not promoted, those stopped early included:
    what they come to tells without bias what the cheap score missed. For each that comes to nothing another is."""


class SearchConfig(RunConfigWithSets):
    """A whole search: what `winnow search` reads."""

    kind: ClassVar[str] = "search"
    words: ClassVar[str] = "a search"
    otherwise: ClassVar[Meaning] = ASKED
    former: ClassVar[tuple[Former, ...]] = (
        Former("search.concurrency", "resources.concurrency"),
        Former("search.cpus_per_trial", "resources.cpus_per_job"),
        Former("search.gpus_per_trial", "resources.gpus_per_job"),
        Former("search.max_failures", "resources.max_failures"),
        Former("distill.sets", "sets", by_stem),
    )

    run: RunSection
    """The run directory and the seed."""
    data: DataSection
    """The images."""
    distill: DistillSection = Field(default_factory=DistillSection)
    """How distilled sets are made."""
    space: Annotated[
        dict[str, Any],
        FIXED,
        Holds(("model", "sparsity", "source", "ipc", "image_gradients"), settings=(("recipe", Recipe),)),
    ]
    """What may vary: `model`, `sparsity`, `source` (`distilled`, `subset` or `real`), `ipc`, `image_gradients` and
    `recipe`. Without `source` it is `distilled` where there is an `ipc` and else `real`; without a length a round has
    10,000 image-gradients. A leaf is a constant or one of `{int: [low, high]}`, `{float: [low, high]}`,
    `{choice: [...]}`, with `log: true`, `step: ...` and `when: {name: value}` where wanted. What
    waits for a value that is never taken, as an override has put another in its place, is left out."""
    screen: Annotated[ScreenSection, FIXED] = Field(default_factory=ScreenSection)
    """The pruning rounds of a trial."""
    search: SearchSection = Field(default_factory=SearchSection)
    """What is proposed, and what becomes of it."""
    promote: PromoteSection = Field(default_factory=PromoteSection)
    """Which tickets are retrained."""
    retrain: Annotated[RetrainSection, FREE] = Field(default_factory=RetrainSection)
    """How tickets are retrained."""
    resources: Annotated[ResourcesSection, FREE] = Field(default_factory=ResourcesSection)
    """What runs where."""

    def check(self) -> None:
        """See `RunConfig`."""
        self.retrain.methods()
