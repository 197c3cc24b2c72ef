"""What tells candidates apart: what would be trained, in whatever words it was proposed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

from dp_core.errors import UserError
from dp_core.models import ModelSpec, with_defaults
from dp_core.training import Recipe
from trainables.trials.candidate import Candidate

_REMEMBERED = 4096
_ANY: Mapping[str, Any] = {"model": {"name": "convnet"}, "sparsity": 0}  # of no matter to what follows from the rest
_DIGITS = 12  # 0.1 + 2 × 0.1 is no other step of a range than 0.3


def identity_of(value: Mapping[str, Any], classes: int, ladder_ipc: Iterable[int] = ()) -> str:
    """Return a text that proposals share if, and only if, they come to the same trainings but for their seeds.

    It has what each pruning rung trains: the architecture with its defaults written out, the sparsity, the data and
    the recipe. Where the words differ and the training does not, it is one text: 5 and 5.0, a budget of image-gradients
    and the steps that it pays for, a batch larger than the set and one as large as it, SGD's momentum for Adam. A
    proposal that is no candidate, and so fails, is its own words.

    Args:
        value: what the space proposed, a nested dict of plain values.
        classes: of the images.
        ladder_ipc: images a class of the rungs below.
    """
    # In two parts, as a search has few networks, or few recipes, and many combinations of them.
    model, sparsity = value.get("model"), value.get("sparsity")
    rest = {name: entry for name, entry in value.items() if name not in ("model", "sparsity")}
    return f"{_network(_written(model))} {_text(sparsity)} {_training(_written(rest), classes, tuple(ladder_ipc))}"


@lru_cache(maxsize=_REMEMBERED)
def _network(written: str) -> str:
    """Return what a model comes to that was written so."""
    value = json.loads(written)
    try:
        return _text(with_defaults(ModelSpec.from_dict(value)).to_dict())
    except (TypeError, UserError):  # it is none
        return written


@lru_cache(maxsize=_REMEMBERED)
def _training(written: str, classes: int, ladder_ipc: tuple[int, ...]) -> str:
    """Return what data and recipe come to, on each rung, that were written so."""
    value = json.loads(written)
    try:
        rungs = Candidate.parse_ladder({**value, **_ANY}, classes, ladder_ipc)
    except UserError:
        return _text(value)
    return _text([_trained(rung, classes) for rung in rungs])


def _trained(rung: Candidate, classes: int) -> dict[str, Any]:
    images = None if rung.images_per_class is None else rung.images_per_class * classes
    return {"data": rung.data_key, "recipe": _recipe(rung.recipe, images)}


def _recipe(recipe: Recipe, images: int | None) -> dict[str, Any]:
    """Return what a recipe comes to on a set of so many images; on the real ones, None, as it is written."""
    said = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    if recipe.optimizer != "sgd":
        del said["momentum"]
    if images is not None:
        said |= {
            "steps": recipe.total_steps(images),
            "epochs": None,
            "batch_size": recipe.images_per_step(images),
        }
    return said


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def _text(value: Any) -> str:
    return _written(_plain(value))


def _plain(value: Any) -> Any:
    """Return the value with one form for each number: whole ones as integers, others to twelve digits."""
    if isinstance(value, float):
        rounded = float(f"{value:.{_DIGITS}g}")
        return int(rounded) if rounded.is_integer() else rounded
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
