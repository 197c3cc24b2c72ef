"""Which retrained models a run has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.runs.directory import RunDirectory, model_name
from trainables.retraining.method import RetrainingMethod

_WITHOUT_RECIPE = re.compile(r"\d+-seed\d+")


def models_of(run: RunDirectory) -> dict[str, Path]:
    """Return the folders of the models by the names of their retrainings, whole or damaged.

    In a run from before there were several recipes the name of a folder does not say by which the model was trained;
    its card does.
    """
    return {_name_of(folder): folder for folder in run.models()}


def with_models(rows: Sequence[Mapping[str, Any]], run: RunDirectory) -> list[dict[str, Any]]:
    """Return the rows of a leaderboard with the retrained models, one a seed, and the report that they are in."""
    made = models_of(run)
    return [
        {
            **row,
            "run": str(run.path),
            "report": str(run.path / "report.html"),
            "models": [str(made[name]) for name in _names(row) if name in made],
        }
        for row in rows
    ]


def _names(row: Mapping[str, Any]) -> list[str]:
    return [model_name(row["trial"], seed, row["recipe"]) for seed in range(row["seeds"])]


def _name_of(folder: Path) -> str:
    if not _WITHOUT_RECIPE.fullmatch(folder.name):
        return folder.name
    try:
        results = json.loads((folder / "card.json").read_text(encoding="utf-8"))["results"]
        method = RetrainingMethod.of_card(results)
        return folder.name if method is None else model_name(results["trial"], results["seed"], method.key)
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name
