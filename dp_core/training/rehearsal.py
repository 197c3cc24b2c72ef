"""Seeing that a network goes through all that a run does with it, before anything starts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dp_core.device import default_device
from dp_core.errors import UserError, in_one_line
from dp_core.models import ModelSpec, build, check_forward
from dp_core.training.data import TrainingData
from dp_core.training.evaluation import evaluate
from dp_core.training.loop import Diverged, Training
from dp_core.training.recipe import Recipe

_IMAGES = 2
_STEPS = 3  # what a network keeps of its first step may be in the way of the second, and of an evaluation of the third
_KEPT = 0.5  # share of the weights that a mask keeps where one is tried
_RATE = 1e-4  # whatever the recipe's: it is not the rate that is looked at


def rehearsed(
    spec: ModelSpec, input_shape: tuple[int, int, int], classes: int, *recipes: Recipe, seed: int = 0
) -> nn.Module:
    """Build the network that `spec` describes, having seen that one like it can be trained.

    A copy does three steps of each recipe with its optimiser, in its mode and precision, on two random images (one, if
    that is the batch) on the default device, is evaluated before the last, and in the end its state fits a network that
    is built anew. Recipes that differ in other things are done once. Nothing is compiled: what cannot be is executed as
    it is. Torch's generators are left as they were.

    Args:
        spec: architecture and hyperparameters.
        input_shape: channels, height, width of one image.
        classes: number of outputs.
        recipes: what it is to be trained by.
        seed: of the initial weights.

    Raises:
        UserError: something in this fails, or the network is not as a training needs it.
    """
    label, device = spec.label(), default_device()
    fresh = build(spec, input_shape, classes, seed=seed)
    before = dict(fresh.named_parameters())
    check_forward(fresh, label, input_shape, classes)
    _require_same(before, fresh, label)
    if not any(parameter.requires_grad for parameter in fresh.parameters()):
        raise UserError(f"The model '{label}' has no parameter that can be trained.")
    try:
        model = copy.deepcopy(fresh)
    except Exception as error:  # a user's module may raise anything
        raise UserError(f"The model '{label}' cannot be copied: {in_one_line(error)}.") from error
    model = model.to(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad(), _one_thread():
        torch.manual_seed(seed)
        for recipe in {_shortened(recipe): None for recipe in recipes}:
            _do(model, label, input_shape, classes, recipe)
            if recipe.own_parts:
                _require_resumable(model, label, input_shape, classes, recipe)
    try:
        build(spec, input_shape, classes, seed=seed).load_state_dict(model.state_dict())
    except Exception as error:
        raise UserError(
            f"The model '{label}' cannot be built again around its trained weights: {_without_heading(error)}."
        ) from error
    return fresh


def _shortened(recipe: Recipe) -> Recipe:
    """Return what of a recipe may matter to whether a network can be trained."""
    own = {key: getattr(recipe, key) for key in recipe.own_parts}
    kept: dict[str, Any] = {"optimizer": recipe.optimizer, "schedule": "constant", **own}
    return Recipe(
        **kept,
        learning_rate=_RATE,
        steps=_STEPS,
        batch_size=min(recipe.batch_size, _IMAGES),
        precision=recipe.precision,
        mode="auto" if recipe.mode == "compiled" else recipe.mode,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """So few images are done faster by one thread than by several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _do(model: nn.Module, label: str, input_shape: tuple[int, int, int], classes: int, recipe: Recipe) -> None:
    device = next(model.parameters()).device
    labels = torch.arange(_IMAGES) % classes
    data = TrainingData(torch.randn(_IMAGES, *input_shape), labels).to(device)
    before = dict(model.named_parameters())
    what, bfloat16 = "a step of training", False
    try:
        training = Training(model, data, recipe, seed=0, mask=None)
        bfloat16 = training.network.bfloat16
        training.run(_STEPS - 1)
        what = "an evaluation"
        evaluate(model, data, precision=recipe.precision, mode=recipe.mode)
        what = "a step of training after an evaluation"
        training.load_state_dict(training.state_dict())
        training.run()
    except Diverged:  # which ends the trainings that it happens to, with this reason, and nothing else
        return
    except UserError:
        raise
    except Exception as error:  # a user's model may raise anything
        raise UserError(
            f"The model '{label}' fails in {what}{_how(recipe, bfloat16)}: {in_one_line(error)}."
        ) from error
    _require_same(before, model, label)


def _require_resumable(
    model: nn.Module, label: str, input_shape: tuple[int, int, int], classes: int, recipe: Recipe
) -> None:
    """Raise UserError if a recipe of a user's own parts does not train the same whether it was interrupted or not.

    Two copies of the network are trained by it under one mask, one of them from the saved state of the step before the
    last one on, with parts that are made anew.
    """
    device = next(model.parameters()).device
    labels = torch.arange(_IMAGES) % classes
    data = TrainingData(torch.randn(_IMAGES, *input_shape), labels).to(device)
    exact = replace(recipe, mode="eager", precision="float32")
    kept = {name: torch.rand(each.shape) < _KEPT for name, each in model.named_parameters() if each.dim() > 1}

    def training() -> Training:
        return Training(copy.deepcopy(model), data, exact, seed=0, mask=kept)

    own = _own_parts(recipe)
    try:
        whole, first, second = training(), training(), training()
        whole.run()
        first.run(_STEPS - 1)
        second.load_state_dict(first.state_dict())
        second.run()
    except Diverged:
        return
    except UserError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise UserError(f"The recipe with {own} cannot be resumed: {in_one_line(error)}.") from error
    for name, weight in whole.model.named_parameters():
        if not torch.equal(weight, second.model.get_parameter(name)):
            raise UserError(
                f"The recipe with {own} trains '{label}' differently when it goes on from a saved state: what a part "
                "keeps must be in the optimizer's state_dict, and what it draws must come from the generator that it "
                "is given."
            )


def _how(recipe: Recipe, bfloat16: bool) -> str:
    """Return what is not usual about a recipe's steps, as the sentence about a failure goes on."""
    one = " of one image" if recipe.batch_size == 1 else ""
    if recipe.own_parts:
        one += f" with {_own_parts(recipe)}"
    if recipe.precision == "auto":
        return f"{one} in bfloat16, which precision 'auto' takes here" if bfloat16 else one
    return f"{one} in {recipe.precision}"


def _own_parts(recipe: Recipe) -> str:
    return " and ".join(f"{key} '{getattr(recipe, key)}'" for key in recipe.own_parts)


def _require_same(before: dict[str, nn.Parameter], model: nn.Module, label: str) -> None:
    after = dict(model.named_parameters())
    for name in [*before, *after]:
        if before.get(name) is not after.get(name):
            raise UserError(
                f"The model '{label}' makes its parameter '{name}' in the forward pass, where no optimiser knows of it."
            )


def _without_heading(error: Exception) -> str:
    """Return the first complaint of `load_state_dict`, which stands below a line that names the class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)].rstrip(".") if lines else type(error).__name__
