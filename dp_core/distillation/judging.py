"""What a fresh network learns from a set: how states of a distillation, and finished sets, are judged."""

from __future__ import annotations

from dp_core.data import ImageDataset
from dp_core.device import default_device
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.judging import calibration_images, judge
from dp_core.models import ModelSpec, build
from dp_core.seeds import derive_seed
from dp_core.training import Recipe, Training, TrainingData
from dp_core.training.loop import Diverged

# What a network is trained with on a set that brings no learning rate of its own: the middle of what suits sets of all
# methods over 10 to 1,000 steps.
LEARNING_RATE = 3e-3


def judging_recipe(distilled: DistilledSet, steps: int, learning_rate: float | None = None) -> Recipe:
    """Return the recipe of `steps` steps that a set is judged by.

    A set that learned its rate was made for plain SGD at this rate, and is trained on in this way; others by AdamW with
    a one-cycle schedule. Both see whole sets of up to 256 images a step, under siamese augmentation.

    Args:
        distilled: the set.
        steps: at least 1.
        learning_rate: AdamW's, for sets of either kind; None takes the set's own, or 3e-3 with AdamW.
    """
    batch = min(len(distilled.images), 256)
    if learning_rate is None and distilled.learning_rate is not None:
        return Recipe(
            optimizer="sgd",
            learning_rate=distilled.learning_rate,
            momentum=0.0,
            weight_decay=0.0,
            schedule="constant",
            steps=steps,
            batch_size=batch,
            augmentation="siamese",
        )
    return Recipe(
        optimizer="adamw",
        learning_rate=LEARNING_RATE if learning_rate is None else learning_rate,
        schedule="one_cycle",
        steps=steps,
        batch_size=batch,
        augmentation="siamese",
    )


def trained_accuracy(
    distilled: DistilledSet, images: ImageDataset, spec: ModelSpec, recipe: Recipe, seed: int, *, train: ImageDataset
) -> float:
    """Train a fresh network on a set by `recipe` and return its accuracy on real `images`, from 0 to 1.

    The real images go through the set's own preprocessing, and so do those of `train`, real images that `images` were
    held back from, with which the network is judged (see `judge`). A training that diverges has the accuracy of chance.
    """
    device = default_device()
    model = build(spec, distilled.image_shape, distilled.classes, seed=derive_seed(seed, "judged network")).to(device)
    training = Training(model, TrainingData(*distilled.training_data()).to(device), recipe, seed=seed, mask=None)
    space = distilled.preprocessing
    try:
        training.run()
    except Diverged:
        return 1 / distilled.classes
    scored, calibration = TrainingData(images.images, images.labels, space), calibration_images(train, space)
    return judge(model, scored, calibration, recipe).accuracy


def few_step_accuracy(
    distilled: DistilledSet, images: ImageDataset, spec: ModelSpec, steps: int, seed: int, *, train: ImageDataset
) -> float:
    """Return `trained_accuracy` after `steps` steps of the set's own recipe (see `judging_recipe`)."""
    return trained_accuracy(distilled, images, spec, judging_recipe(distilled, steps), seed, train=train)
