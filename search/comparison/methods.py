"""The methods of a comparison as its config means them: one for each number of steps, in the terms of one network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dp_core.data.preprocessing import ZCA
from dp_core.distillation import DistilledSet
from dp_core.errors import UserError, nearest
from dp_core.pruning import (
    SPARSE_TRAININGS,
    Mask,
    NOfM,
    SparseTraining,
    WholeChannels,
    check_sparsity,
    criterion_named,
    schedule_through,
)
from dp_core.training import Recipe
from search.comparison.config import ComparisonConfig, MethodSection
from trainables.laboratory import FINAL, Method
from trainables.trials.settings import parse_settings

_FORMER_CRITERION = "magnitude"  # the default until there were kinds with another: records of runs say it of all
_CONTROLS = ("reinitialised", "shuffled", "rewound")


@dataclass(frozen=True)
class Setting:
    """What methods are read against.

    Attributes:
        config: the comparison.
        dense: mask of the network that keeps all weights in scope; its layers say how sparse the network can be.
        train_images: images of the real training split.
        classes: of the data.
        sets: ready-made distilled sets by name.
        final: recipe of the final training.
    """

    config: ComparisonConfig
    dense: Mask
    train_images: int
    classes: int
    sets: Mapping[str, DistilledSet]
    final: Recipe

    def images(self, section: MethodSection) -> int:
        """Return how many images a method's rounds pass over."""
        ready = self.sets.get(section.source or "")
        if ready is not None:
            return len(ready.images)
        return self.train_images if section.ipc is None else section.ipc * self.classes


def methods_of(setting: Setting) -> dict[str, Method]:
    """Return the methods for one network by name, in the config's order.

    Raises:
        UserError: a method that cannot be done; the sentence names its key.
    """
    found: dict[str, Method] = {}
    for family, section in setting.config.chosen_methods.items():
        try:
            if section.steps == ():
                raise UserError("'steps' is an empty list.")
            for steps in section.steps if isinstance(section.steps, tuple) else (section.steps,):
                name = f"{family}-{steps}" if isinstance(section.steps, tuple) else family
                if name == FINAL:
                    raise UserError(f"a method cannot have the name '{name}'.")
                if name in found:
                    raise UserError(f"there is another method of the name '{name}'.")
                found[name] = _method(setting, family, name, section, steps)
        except UserError as error:
            raise UserError(f"'methods.{family}': {error}") from error
    for method in found.values():
        _check_parent(method, found)
    controls = {name: _as_its_parent(method, found) for name, method in found.items() if method.kind in _CONTROLS}
    return {name: controls.get(name, method) for name, method in found.items()}


def _as_its_parent(control: Method, methods: Mapping[str, Method]) -> Method:
    """Return a control with what it has of its parent."""
    parent = methods[control.parent or ""]
    return replace(
        control,
        sparsities=parent.sparsities,
        criterion=parent.criterion,
        source=parent.source,
        images_per_class=parent.images_per_class,
        space=parent.space,
        recipe=parent.recipe,
    )


def _method(setting: Setting, family: str, name: str, section: MethodSection, steps: int | None) -> Method:
    _check_keys(section)
    _check_source(section, setting.sets)
    recipe: Recipe | None = None
    rates: tuple[float, ...] = (1.0,)
    if section.kind == "iterative":
        recipe, rates = _recipe(setting, section, steps)
    return Method(
        name=name,
        family=family,
        kind=section.kind,
        criterion=_criterion(section),
        source=section.source,
        images_per_class=section.ipc,
        space=section.space,
        recipe=recipe,
        learning_rates=rates,
        rewind_step=_rewind_step(setting, section, recipe),
        prune_fraction=section.prune_fraction or setting.config.prune_fraction,
        sparsities=_sparsities(setting, section),
        parent=section.of or section.start_from,
        start_sparsity=section.start_sparsity,
        sparse_training=_sparse_training(section),
    )


def _criterion(section: MethodSection) -> str:
    return section.criterion or ("random_erk" if section.kind == "rigl" else "magnitude")


def _sparse_training(section: MethodSection) -> SparseTraining | None:
    settings = SPARSE_TRAININGS.get(section.kind)
    return None if settings is None else parse_settings(settings, section.settings, "settings")


def _check_keys(section: MethodSection) -> None:
    """Raise UserError for a key that a method of this kind has no use for, or lacks."""
    rounds = ("steps", "epochs", "learning_rate", "recipe", "prune_fraction", "start_from", "start_sparsity")
    rewinding, found = ("rewind_step", "rewind_epochs"), ("source", "ipc", "space", "sparsities", "criterion")
    trained = ("steps", "epochs", "learning_rate", "recipe", "prune_fraction", *rewinding, "source", "ipc", "space")
    idle = {
        "dense": (*rounds, *rewinding, *found, "of", "settings"),
        "at_initialisation": (*rounds, *rewinding, "of", "settings"),
        "gradual": (*trained, "of"),
        "one_shot": (*trained, "of"),
        "rigl": (*trained, "of", "start_sparsity", *(("criterion",) if section.start_from else ())),
        "iterative": ("of", "settings"),
        "reinitialised": (*rounds, *rewinding, *found, "settings"),
        "shuffled": (*rounds, *rewinding, *found, "settings"),
        "rewound": (*rounds, *found, "settings"),
    }
    for key in idle[section.kind]:
        if key == "criterion" and section.criterion == _FORMER_CRITERION and section.kind != "rigl":
            continue
        if getattr(section, key) != MethodSection.model_fields[key].get_default(call_default_factory=True):
            raise UserError(f"the key '{key}' has no meaning for the kind '{section.kind}'.")
    if section.kind in _CONTROLS and section.of is None:
        raise UserError(f"a {section.kind} control needs 'of', the method whose tickets it is about.")
    if section.kind != "rigl" and (section.start_from is None) != (section.start_sparsity is None):
        raise UserError("'start_from' and 'start_sparsity' go together.")
    if section.rewind_step and section.rewind_epochs:
        raise UserError("give 'rewind_step' or 'rewind_epochs', not both.")


def _check_source(section: MethodSection, sets: Mapping[str, DistilledSet]) -> None:
    if section.kind == "iterative" and section.source is None:
        raise UserError("an iterative method needs a 'source': real, subset, distilled or one of 'sets'.")
    if section.space is not None and (section.source not in ("real", "subset") or section.space not in sets):
        raise UserError(f"'space' is for the sources real and subset, and one of 'sets', not {section.space!r}.")
    known = ("real", "subset", "distilled", *sets)
    if section.source is not None and section.source not in known:
        raise UserError(
            f"there is no source '{section.source}'.{nearest(section.source, known)} Known: {', '.join(known)}."
        )
    needs_ipc = section.source in ("subset", "distilled")
    if needs_ipc != (section.ipc is not None):
        what = "without a source a method" if section.source is None else f"the source '{section.source}'"
        raise UserError(f"{what} {'needs' if needs_ipc else 'has no use for'} 'ipc'.")


def learning_rates(given: float | tuple[float, ...], key: str) -> tuple[float, ...]:
    """Return the learning rates to choose from; UserError, which names `key`, for an empty list or one rate twice."""
    several = given if isinstance(given, tuple) else (given,)
    if not several:
        raise UserError(f"'{key}' is an empty list.")
    if twice := [rate for rate, number in Counter(several).items() if number > 1]:
        raise UserError(f"'{key}' has {twice[0]:g} more than once.")
    return several


def _recipe(setting: Setting, section: MethodSection, steps: int | None) -> tuple[Recipe, tuple[float, ...]]:
    """Return the recipe of a round with the first of the learning rates to choose from, and all of them."""
    settings: dict[str, Any] = {**setting.config.round_recipe, **section.recipe}
    for key in ("steps", "epochs", "learning_rate"):
        if key in section.recipe or (key in settings and key != "learning_rate"):
            raise UserError(f"'{key}' stands beside 'recipe', not in it.")
    if (steps is None) == (section.epochs is None):
        raise UserError("a method needs either 'steps' or 'epochs'.")
    length = {"epochs": section.epochs} if steps is None else {"steps": steps}
    rates = section.learning_rate
    if rates == "learned":
        ready = setting.sets.get(section.source or "")
        if ready is None or ready.learning_rate is None:
            raise UserError(f"the source '{section.source}' has no learned learning rate.")
        rates = ready.learning_rate
    if rates is None:
        if "learning_rate" not in settings:
            raise UserError("a method needs a 'learning_rate', of its own or in 'round_recipe'.")
        rates = settings["learning_rate"]
    several = learning_rates(rates, "learning_rate")
    recipes = [parse_settings(Recipe, {**settings, **length, "learning_rate": rate}, "recipe") for rate in several]
    return recipes[0], tuple(recipe.learning_rate for recipe in recipes)


def _rewind_step(setting: Setting, section: MethodSection, recipe: Recipe | None) -> int:
    images = setting.images(section)
    if section.kind == "rewound":
        recipe, images = setting.final, setting.train_images
    if recipe is None:
        return 0
    step = section.rewind_step
    if section.rewind_epochs is not None:
        step = recipe.steps_of_epochs(section.rewind_epochs, images)
        if step == 0:
            raise UserError(f"'rewind_epochs' of {section.rewind_epochs} is less than one step.")
    if section.kind == "rewound" and step == 0:
        raise UserError("a rewound control needs 'rewind_step' or 'rewind_epochs'.")
    other = setting.sets.get(section.space or section.source or "")
    if step > 0 and other is not None and isinstance(other.preprocessing, ZCA):
        raise UserError("weights of whitened images cannot be rewound to: the final training has standardised ones.")
    total = recipe.total_steps(images)
    if step >= total:
        raise UserError(f"rewinding to step {step} is not possible in a round of {total} steps.")
    return step


def _sparsities(setting: Setting, section: MethodSection) -> tuple[float, ...]:
    """Return the targets of a method, having seen that the network can be as sparse."""
    if section.kind == "dense":
        return (0.0,)
    if section.kind in _CONTROLS:
        return ()
    criterion = criterion_named(_criterion(section))
    if isinstance(criterion, WholeChannels) and section.kind == "rigl":
        raise UserError("weights that move do not keep to whole channels.")
    if isinstance(criterion, NOfM):
        if section.kind == "rigl":
            raise UserError(f"weights that move do not keep to the pattern {section.criterion}.")
        if section.sparsities is not None:
            raise UserError(f"the sparsity of the pattern {section.criterion} is its own, not one of 'sparsities'.")
        if section.prune_fraction is not None or section.start_from is not None:
            raise UserError(f"the pattern {section.criterion} is cut in one go out of the dense network.")
        return (criterion.sparsity(setting.dense),)
    targets = section.sparsities or setting.config.sparsities
    if section.start_sparsity is not None:
        targets = tuple(target for target in targets if target > section.start_sparsity)
        if not targets:
            raise UserError(f"no sparsity lies above its 'start_sparsity' of {section.start_sparsity}.")
    fraction = section.prune_fraction or setting.config.prune_fraction
    schedule_through(targets, fraction, start=section.start_sparsity or 0.0)
    check_sparsity(targets[-1], {name: tensor.numel() for name, tensor in setting.dense.items()})
    if targets[0] <= 0:
        raise UserError("the sparsities of tickets are above 0; for the dense network there is the kind 'dense'.")
    return targets


def _check_parent(method: Method, methods: Mapping[str, Method]) -> None:
    parent = method.parent
    if parent is None:
        return
    starts = method.sparse_training is not None
    if parent not in methods:
        raise UserError(
            f"'methods.{method.family}': there is no method '{parent}'.{nearest(parent, methods)} "
            f"Known: {', '.join(methods)}."
        )
    kinds = ("iterative",) if method.kind == "iterative" else ("iterative", "at_initialisation")
    if method.kind == "rewound":
        kinds = (*kinds, "dense")
    if starts:
        kinds = (*kinds, "shuffled")
    if methods[parent].kind not in kinds or method.name in _ancestors(methods[parent], methods):
        raise UserError(f"'methods.{method.family}': '{parent}' is no method that it can build on.")
    root = methods[parent]
    while root.kind in _CONTROLS and root.parent is not None:  # a control has the sparsities of its parent
        root = methods[root.parent]
    from_each = method.sparsities if starts and method.starts_sparse else ()
    for wanted in from_each if method.start_sparsity is None else (method.start_sparsity,):
        if wanted not in root.sparsities:
            key = "start_from" if method.start_sparsity is None else "start_sparsity"
            raise UserError(
                f"'methods.{method.family}.{key}': {parent} has no ticket of sparsity {wanted}, "
                f"only of {', '.join(map(str, root.sparsities))}."
            )


def _ancestors(method: Method, methods: Mapping[str, Method]) -> list[str]:
    """Return the names of a method and of those that it builds on, each once."""
    names = [method.name]
    while (parent := methods[names[-1]].parent) in methods and parent not in names:
        assert parent is not None
        names.append(parent)
    return names
