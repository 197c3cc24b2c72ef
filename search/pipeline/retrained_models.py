"""Which retrained models a run has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dp_core.errors import UserError
from search.pipeline.retraining_plan import recipe_in, recipe_key
from search.runs.directory import RunDirectory, model_name
from trainables.retraining.trained_model import TrainedModel

_WITHOUT_RECIPE = re.compile(r"\d+-seed\d+")


def models_of(run: RunDirectory) -> dict[str, Path]:
    """Return the folders of the models by the names of their retrainings, whole or damaged.

    In a run from before there were several recipes the name of a folder does not say by which the model was trained;
    its card does.
    """
    return {_name_of(folder): folder for folder in run.models()}


def is_sound(model: Path) -> bool:
    """Return whether the model is undamaged; otherwise it is trained again and replaced."""
    try:
        TrainedModel.load(model)
    except UserError:
        return False
    return True


def _name_of(folder: Path) -> str:
    if not _WITHOUT_RECIPE.fullmatch(folder.name):
        return folder.name
    try:
        results = json.loads((folder / "card.json").read_text(encoding="utf-8"))["results"]
        recipe = recipe_in(results)
        return folder.name if recipe is None else model_name(results["trial"], results["seed"], recipe_key(recipe))
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name
