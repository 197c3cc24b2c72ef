"""A network trained on real data, for the distillers that ask one what images are like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Preprocessing
from dp_core.device import default_device
from dp_core.distillation.base import HERE, Progress
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, Training, TrainingData, rehearsed

_STEPS_A_REPORT = 50


def teacher_recipe(steps: int) -> Recipe:
    """Return how a teacher is trained, in `steps` of at least 1."""
    return Recipe(
        optimizer="adamw",
        learning_rate=3e-3,  # in 200 steps on CIFAR-10, ConvNet-3 did best at 5e-3 of 1, 2 and 5e-3, ResNet-20 at 2e-3
        weight_decay=1e-2,
        schedule="one_cycle",
        steps=steps,
        batch_size=128,
        augmentation="flip_crop",
    )


def teacher_gradients(source: ImageDataset, steps: int) -> int:
    """Return the image-gradients that training a teacher for `steps` steps, 0 or more, on `source` costs."""
    return steps * teacher_recipe(steps).images_per_step(len(source)) if steps else 0


def untrained(source: ImageDataset, model: Mapping[str, Any], seed: int) -> nn.Module:
    """Build `model` (name and hyperparameters) for `source`, having seen that a teacher can be made of it.

    Raises:
        UserError: an unknown architecture or hyperparameter, or a network that cannot be trained on these images.
    """
    return rehearsed(ModelSpec.from_dict(model), source.image_shape, source.classes, teacher_recipe(1), seed=seed)


def train_teacher(
    source: ImageDataset,
    space: Preprocessing,
    model: Mapping[str, Any],
    steps: int,
    seed: int,
    progress: Progress = HERE.progress,
) -> nn.Module:
    """Train a network on all of `source` on the default device, by `teacher_recipe`.

    Args:
        source: training images.
        space: maps them, scaled to [0, 1], to the network's space.
        model: `name` and hyperparameters.
        steps: of 128 images (of all, if there are fewer); 0 leaves the network as it was initialised.
        seed: of initial weights, data order, augmentation and dropout; torch's global generators are left alone.
        progress: is told the steps done, the steps in all and the mean loss of the last ones.

    Returns:
        The network in evaluation mode, its parameters without gradients.

    Raises:
        UserError: the model does not fit the images, or its training diverges.
    """
    device = default_device()
    drawn = derive_seed(seed, "teacher network")
    network = build(ModelSpec.from_dict(model), source.image_shape, source.classes, seed=drawn).to(device)
    if steps:
        data = TrainingData(source.images, source.labels, space).to(device)
        recipe = teacher_recipe(steps)
        training = Training(network, data, recipe, seed=derive_seed(seed, "teacher training"), mask=None)
        try:
            while not training.finished:
                loss = training.run(_STEPS_A_REPORT)
                progress(training.step, steps, loss)
        except Diverged as error:
            raise UserError(f"The teacher '{ModelSpec.from_dict(model).label()}' diverged: {error}.") from error
    return network.eval().requires_grad_(False)
