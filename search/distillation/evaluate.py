"""`winnow distill evaluate`: what a distilled set is worth, measured on real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dp_core.data import Reading, Splits, open_splits
from dp_core.data.reading import USUAL
from dp_core.distillation import DistilledSet, RandomImages, Workspace
from dp_core.distillation.evaluation import CONTROLS, EvaluationPlan, evaluate_set, evaluation_controls
from dp_core.distillation.pool import Pool
from dp_core.models import ModelSpec
from dp_core.quality.distilled_quality import QualityPlan, distilled_quality
from dp_core.training import Recipe, rehearsed
from search.config.model_spec import model_spec
from search.runs.images import say_data
from search.runs.progress import Progress

HEADLINE = "convnet:depth=3,width=128"
"""The network that accuracies of distilled sets are published for, with instance norm."""
CROSS_ARCHITECTURE = (
    "convnet:depth=3,width=32,norm=batch",
    "convnet:depth=3,width=32,norm=none",
    "convnet:depth=3,width=32,norm=layer",
    "convnet:depth=3,width=32,norm=group",
    "alexnet:width=32",
    "vgg11:width=16",
    "resnet18:width=8",
)
"""Others, narrow enough for two CPU cores."""

_POOL = {
    "name": "convnet",
    "depth": 3,
    "width": 32,
    "norm": ["none", "batch", "layer", "instance", "group"],
    "activation": ["relu", "leaky_relu", "sigmoid"],
    "pooling": ["average", "max", "none"],
}
# Of 45 pairs of networks the mean lead is certain enough with one network each, and two rates.
_POOL_PLAN = EvaluationPlan(networks=1, steps=100, learning_rates=(2e-3, 1e-2))
_QUALITY = QualityPlan()

Rows = list[dict[str, Any]]


def evaluate(
    set_path: Path,
    *,
    data_format: str,
    data_root: Path,
    validation: float = 0.1,
    networks: int,
    steps: int,
    architectures: list[str],
    pool: bool,
    controls: bool,
    quality: bool,
    save: bool,
    seed: int,
    progress: Progress,
    cache: Path = Path(".cache/winnow"),
    reading: Reading = USUAL,
    quality_plan: QualityPlan = _QUALITY,
) -> Rows:
    """Evaluate the set at `set_path`; every test image is seen once by every network that is measured.

    Learning rates are chosen on validation images, held back with seed 0: of the share that its own distillation held
    back with this seed a set has seen none.

    Args:
        set_path: the set.
        data_format: of the real images, see `dp_core.data.open_splits`.
        data_root: where they are.
        validation: share of the training images that is held back, between 0 and 1.
        networks: of each architecture.
        steps: that each is trained for.
        architectures: such as `alexnet` or `convnet:width=64,norm=batch`; an empty list for HEADLINE and
            CROSS_ARCHITECTURE.
        pool: whether to compare the set with random images on all 45 combinations of norm, activation and pooling of a
            narrow ConvNet-3.
        controls: whether to evaluate random images and herding at equal ipc in the same way.
        quality: whether to measure the set's quality on validation images, see `dp_core.quality.distilled_quality`.
        save: whether to keep the rows in the set's card.
        seed: of everything that is drawn.
        progress: is told how far it is.
        cache: the folder for decoded images.
        reading: how the format is read.
        quality_plan: of the quality measures; the network is the first of `architectures`, if any are named.

    Returns:
        The rows of `evaluate_set` and of the quality measures, with `measure` before the other columns:
        `test_accuracy`, `pool`, `few_steps`, `mask_quality`, `mask_agreement` or `feature_distance`.

    Raises:
        UserError: the set is missing, damaged or for other images, an architecture that there is not or that does not
            fit, or an impossible number.
    """
    plan = EvaluationPlan(networks=networks, steps=steps, seed=seed)
    distilled = DistilledSet.load(set_path)
    splits = open_splits(data_format, data_root, cache=cache, validation=validation, seed=0, reading=reading)
    say_data(splits, progress)
    distilled.check_fits(splits.train.image_shape, splits.train.class_names)
    specs = _checked([model_spec(text) for text in architectures or (HEADLINE, *CROSS_ARCHITECTURE)], splits)
    pool_specs = _checked(Pool.of(_POOL).specs(), splits) if pool else []
    quality_plan = replace(quality_plan, seed=seed, model=specs[0] if architectures else quality_plan.model)
    if quality:
        quality_plan.check(splits.train)
    work = _Work(distilled, set_path, splits, save, progress)
    work.say_what_was_seen()
    rivals = evaluation_controls(
        splits.train,
        distilled.images_per_class,
        seed,
        distillers=CONTROLS if controls or quality else {"random_images": RandomImages()} if pool else {},
        workspace=Workspace(say=lambda sentence: progress.say("controls", sentence)),
    )
    rows = work.evaluated("test_accuracy", rivals if controls else {}, specs, plan)
    if pool:
        random = {"random_images": rivals["random_images"]}
        rows += work.evaluated("pool", random, pool_specs, replace(_POOL_PLAN, seed=seed))
    if quality:
        rows += work.quality(rivals, quality_plan)
    return rows


@dataclass(frozen=True)
class _Work:
    """One set on one data set."""

    distilled: DistilledSet
    path: Path
    splits: Splits
    save: bool
    progress: Progress

    @property
    def validation_unseen(self) -> bool:
        """Whether validation images had no part in the set: it was neither made from them nor chosen by them."""
        made = self.distilled.provenance
        return made.get("source_digest") == self.splits.train.digest and made.get("validation_digest") is None

    def say_what_was_seen(self) -> None:
        if not self.validation_unseen:
            self.progress.say(
                "evaluating",
                "the set was made from another training split, or chosen by validation images: it may have seen the "
                "validation images that learning rates are chosen by.",
            )

    def evaluated(
        self, measure: str, rivals: Mapping[str, DistilledSet], specs: Sequence[ModelSpec], plan: EvaluationPlan
    ) -> Rows:
        """Return the rows of the set and its rivals on all architectures."""
        sets = {self._name(rivals): self.distilled, **rivals}
        tell = self._counting(sum(plan.trainings(each, len(specs)) for each in sets.values()))
        rows = []
        for spec in specs:
            for name, each in sets.items():
                rows += evaluate_set(
                    each,
                    self.splits.test,
                    [spec],
                    train=self.splits.train,
                    validation=self.splits.validation,
                    name=name,
                    plan=plan,
                    tell=tell,
                )
        return self._kept({measure: rows}, asdict(plan))

    def quality(self, rivals: Mapping[str, DistilledSet], plan: QualityPlan) -> Rows:
        """Return the rows of all quality measures."""
        found = distilled_quality(
            self.distilled,
            self.splits.train,
            self.splits.validation,
            plan,
            controls=rivals,
            tell=lambda text: self.progress.say("quality", text),
        )
        settings = {**asdict(plan), "model": plan.model.to_dict()}
        return self._kept(found, settings)

    def _name(self, rivals: Mapping[str, DistilledSet]) -> str:
        """Return what tables call the set: its file's name, in full where a rival has the same."""
        stem = self.path.name.removesuffix(".safetensors")
        return self.path.name if stem in rivals else stem

    def _counting(self, total: int) -> Callable[[str], None]:
        done = 0

        def tell(text: str) -> None:
            nonlocal done
            done += 1
            self.progress.step("evaluating", done, total, text)

        return tell

    def _kept(self, measures: Mapping[str, Rows], settings: Mapping[str, Any]) -> Rows:
        """Write measures into the card, beside what it has of others; return their rows in one list."""
        if self.save:
            conditions = {
                "settings": dict(settings),
                "train_digest": self.splits.train.digest,
                "test_digest": self.splits.test.digest,
                "validation_unseen": self.validation_unseen,
            }
            quality = {measure: {**conditions, "rows": rows} for measure, rows in measures.items()}
            DistilledSet.load(self.path).with_quality(quality).update_card(self.path)
        return [{"measure": measure, **row} for measure, rows in measures.items() for row in rows]


def _checked(specs: Sequence[ModelSpec], splits: Splits) -> list[ModelSpec]:
    """Return the architectures, having seen that each can be trained on such images."""
    for spec in specs:
        rehearsed(spec, splits.train.image_shape, splits.train.classes, Recipe(steps=1))
    return list(specs)
