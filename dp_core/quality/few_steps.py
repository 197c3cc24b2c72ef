"""What networks learn in few steps from a distilled set, beside real images at equal ipc and at equal cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dp_core.data import ImageDataset
from dp_core.device import default_device
from dp_core.distillation import DistilledSet
from dp_core.distillation.base import standardisation_of
from dp_core.distillation.judging import few_step_accuracy, judging_recipe
from dp_core.judging import calibration_images, judge
from dp_core.models import ModelSpec, build
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, Training, TrainingData

REAL = "real"
"""What rows call real data with as many image-gradients as the set."""


def few_steps(
    distilled: DistilledSet,
    train: ImageDataset,
    validation: ImageDataset,
    specs: Sequence[ModelSpec],
    *,
    controls: Mapping[str, DistilledSet],
    steps: Sequence[int] = (10, 30, 100),
    seeds: Sequence[int] = (0,),
    tell: Callable[[str], None] = lambda sentence: None,
) -> list[dict[str, Any]]:
    """Return the validation accuracy of fresh networks after few steps, on a set and on its rivals.

    Each set is trained on by its own `judging_recipe`. Real data are all of `train`, standardised, by the recipe of a
    set without a learned rate and in batches of the set's size: the same steps, the same image-gradients, but hardly an
    image twice.

    Args:
        distilled: the set.
        train: real images.
        validation: real images held back from them.
        specs: the architectures.
        controls: other sets by name, of real images at equal ipc for instance.
        steps: numbers of steps, each at least 1.
        seeds: of initial weights, data order and augmentation, one repetition each; the same for all sources.
        tell: is told what is trained next.

    Returns:
        Rows with `source` ("distilled", a control's name or "real"), `architecture`, `steps`, `seed`, `image_gradients`
        and `accuracy` in [0, 1]; a training that diverges has that of chance.

    Raises:
        UserError: the set is not for such images, or an architecture cannot be built for them.
    """
    distilled.check_fits(train.image_shape, train.class_names)
    real = TrainingData(train.images, train.labels, standardisation_of(train)).to(default_device())
    sets = {"distilled": distilled, **controls}
    rows = []
    for spec, count, seed in itertools.product(specs, steps, seeds):
        recipe = judging_recipe(replace(distilled, learning_rate=None), count)
        for source in (*sets, REAL):
            tell(f"{source}, {spec.label()}, {count} steps")
            if source == REAL:
                accuracy = _real_data_accuracy(real, train, validation, spec, recipe, seed)
            else:
                accuracy = few_step_accuracy(sets[source], validation, spec, count, seed, train=train)
            images = len(train) if source == REAL else len(sets[source].images)
            gradients = count * recipe.images_per_step(images)
            row = {"source": source, "architecture": spec.label(), "steps": count, "seed": seed}
            rows.append({**row, "image_gradients": gradients, "accuracy": accuracy})
    return rows


def _real_data_accuracy(
    data: TrainingData, train: ImageDataset, validation: ImageDataset, spec: ModelSpec, recipe: Recipe, seed: int
) -> float:
    """Return what `trained_accuracy` returns for sets, from the same initial weights."""
    classes = validation.classes
    model = build(spec, validation.image_shape, classes, seed=derive_seed(seed, "judged network")).to(default_device())
    try:
        Training(model, data, recipe, seed=seed, mask=None).run()
    except Diverged:
        return 1 / classes
    space = standardisation_of(train)
    scored = TrainingData(validation.images, validation.labels, space)
    return judge(model, scored, calibration_images(train, space), recipe).accuracy
