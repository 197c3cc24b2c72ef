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
_DIGITS = 12  # 0.1 + 2 × 0.1 is no other step of a range than 0.3


def identity_of(candidate: Candidate, classes: int, ladder_ipc: Iterable[int] = ()) -> str:
    """Return a text that candidates share if, and only if, they come to the same trainings but for their seeds.

    It has what each pruning rung trains: the architecture with its defaults written out, the sparsity, the data and
    the recipe. Where the words differ and the training does not, it is one text: 5 and 5.0, a budget of image-gradients
    and the steps that it pays for, a batch larger than the set and one as large as it, SGD's momentum for Adam.

    Args:
        candidate: of the space.
        classes: of the images.
        ladder_ipc: images a class of the rungs below.
    """
    rungs = candidate.rungs(ladder_ipc, classes)
    trainings = [_training(rung.data_key, rung.recipe, rung.images(classes)) for rung in rungs]
    # In parts that are remembered, as a search has few networks, or few recipes, and many combinations of them.
    return " ".join([_network(_written(candidate.model.to_dict())), _text(candidate.sparsity), *trainings])


@lru_cache(maxsize=_REMEMBERED)
def _network(written: str) -> str:
    """Return what a model comes to that was written so."""
    value = json.loads(written)
    try:
        return _text(with_defaults(ModelSpec.from_dict(value)).to_dict())
    except (TypeError, UserError):  # it is none, as its trial will say
        return written


@lru_cache(maxsize=_REMEMBERED)
def _training(data: str, recipe: Recipe, images: int | None) -> str:
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
    return _text({"data": data, "recipe": said})


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
