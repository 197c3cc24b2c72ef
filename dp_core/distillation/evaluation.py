"""What a distilled set is worth: the test accuracy of fresh networks that saw nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dp_core.data import ImageDataset
from dp_core.distillation.base import HERE, Distiller, Workspace
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.distillation.herding import Herding
from dp_core.distillation.judging import judging_recipe, trained_accuracy
from dp_core.distillation.random_images import RandomImages
from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.seeds import derive_seed
from dp_core.training import Recipe

# Called before every training with what is about to be trained.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class EvaluationPlan:
    """How sets are evaluated, the same for all that are to be compared.

    Args:
        networks: fresh networks of every architecture whose test accuracy is measured, at least 1.
        steps: that each is trained for, at least 1.
        learning_rates: those of AdamW among which validation images choose, at least one, each above 0; a set that
            brings a rate of its own is also tried with that (plain SGD, see `judging_recipe`).
        seed: of initial weights, data order and augmentation.
    """

    networks: int = 5
    steps: int = 1000
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.networks < 1 or self.steps < 1:
            raise UserError(f"An evaluation needs at least 1 network and 1 step, not {self.networks} and {self.steps}.")
        if not self.learning_rates or not min(self.learning_rates) > 0:
            raise UserError(f"An evaluation needs learning rates above 0, not {list(self.learning_rates)}.")

    def recipes(self, distilled: DistilledSet) -> list[Recipe]:
        """Return the recipes among which validation images choose."""
        rates: list[float | None] = [*self.learning_rates]
        if distilled.learning_rate is not None:
            rates.append(None)
        return [judging_recipe(distilled, self.steps, rate) for rate in rates]

    def trainings(self, distilled: DistilledSet, architectures: int) -> int:
        """Return how many networks `evaluate_set` trains on a set."""
        choices = len(self.recipes(distilled))
        return architectures * (self.networks + (choices if choices > 1 else 0))


USUAL = EvaluationPlan()

CONTROLS: Mapping[str, Distiller] = MappingProxyType({"random_images": RandomImages(), "herding": Herding()})


def evaluate_set(
    distilled: DistilledSet,
    test: ImageDataset,
    specs: Sequence[ModelSpec],
    *,
    train: ImageDataset,
    validation: ImageDataset,
    name: str,
    plan: EvaluationPlan = USUAL,
    tell: Tell = lambda sentence: None,
) -> list[dict[str, Any]]:
    """Train fresh networks of every architecture on a set and measure their accuracy on real test images.

    For each architecture one network a learning rate is trained and seen on `validation`; the best rate (of equals the
    first) trains the networks that see `test`, once each. They have other initial weights than those that chose. A
    training that diverges counts with the accuracy of chance.

    Args:
        distilled: the set; its preprocessing is applied to the real images.
        test: real images that nothing was chosen by.
        specs: the architectures.
        train: real images that neither `test` nor `validation` has, with which networks are judged (see `judge`).
        validation: real images held back from what the set was made of; unused where there is one rate only.
        name: what the rows call the set.
        plan: the number and length of trainings, and the rates.
        tell: is told what is trained next.

    Returns:
        A row for each architecture, deterministic in the plan's seed (on one kind of machine): `set`, `architecture`,
        `networks`, `steps`, `optimizer`, `learning_rate`, `validation_accuracy` of the chosen rate (None with one
        rate), `accuracy_mean`, `accuracy_std` (sample standard deviation, None for one network) and `accuracies`, all
        in [0, 1].

    Raises:
        UserError: the set is not for such images, or an architecture cannot be built for them.
    """
    for images in (train, validation, test):
        distilled.check_fits(images.image_shape, images.class_names)
    return [_row(distilled, test, spec, train, validation, name, plan, tell) for spec in specs]


def evaluation_controls(
    train: ImageDataset,
    images_per_class: int,
    seed: int,
    *,
    distillers: Mapping[str, Distiller] = CONTROLS,
    workspace: Workspace = HERE,
) -> dict[str, DistilledSet]:
    """Return sets of real images that a distilled set has to beat at equal ipc, by name.

    They are standardised, as they are where Winnow uses them; to evaluate them like the set itself makes them fair.

    Raises:
        UserError: a class has too few images.
    """
    return {
        name: distiller.distill(train, images_per_class, derive_seed(seed, name), workspace)
        for name, distiller in distillers.items()
    }


def leads(rows: Sequence[Mapping[str, Any]], name: str, control: str = "random_images") -> dict[str, float]:
    """Return for each architecture how much more accurate networks of one set are than those of a control.

    Args:
        rows: of `evaluate_set`, of both sets on the same architectures.
        name: what the rows call the set.
        control: what they call the control.
    """
    means = {(row["set"], row["architecture"]): float(row["accuracy_mean"]) for row in rows}
    return {
        architecture: mean - means[control, architecture]
        for (which, architecture), mean in means.items()
        if which == name
    }


def _row(
    distilled: DistilledSet,
    test: ImageDataset,
    spec: ModelSpec,
    train: ImageDataset,
    validation: ImageDataset,
    name: str,
    plan: EvaluationPlan,
    tell: Tell,
) -> dict[str, Any]:
    recipe, chosen_by = _chosen_recipe(distilled, train, validation, spec, plan, lambda text: tell(f"{name}, {text}"))
    accuracies = []
    for network in range(plan.networks):
        tell(f"{name}, {spec.label()}, network {network + 1} of {plan.networks}")
        seed = derive_seed(plan.seed, "evaluated network", network)
        accuracies.append(trained_accuracy(distilled, test, spec, recipe, seed, train=train))
    return {
        "set": name,
        "architecture": spec.label(),
        "networks": plan.networks,
        "steps": plan.steps,
        "optimizer": recipe.optimizer,
        "learning_rate": recipe.learning_rate,
        "validation_accuracy": chosen_by,
        "accuracy_mean": statistics.fmean(accuracies),
        "accuracy_std": statistics.stdev(accuracies) if plan.networks > 1 else None,
        "accuracies": accuracies,
    }


def _chosen_recipe(
    distilled: DistilledSet,
    train: ImageDataset,
    validation: ImageDataset,
    spec: ModelSpec,
    plan: EvaluationPlan,
    tell: Tell,
) -> tuple[Recipe, float | None]:
    recipes = plan.recipes(distilled)
    if len(recipes) == 1:
        return recipes[0], None
    seed = derive_seed(plan.seed, "choice of the learning rate")
    accuracies = []
    for recipe in recipes:
        tell(f"{spec.label()}, trying learning rate {recipe.learning_rate:.3g}")
        accuracies.append(trained_accuracy(distilled, validation, spec, recipe, seed, train=train))
    best = max(range(len(recipes)), key=accuracies.__getitem__)
    return recipes[best], accuracies[best]
