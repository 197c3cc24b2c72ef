"""What run.yaml says, as the report needs and shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dp_core.errors import UserError
from search.config.objectives import OBJECTIVES, Objective, objectives_of
from search.config.retraining import RetrainSection


def read_record(path: Path) -> dict[str, Any]:
    """Return the mapping in run.yaml.

    Raises:
        UserError: it is missing, or no mapping that can be read.
    """
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent}: this is not a run directory, since it holds no {path.name}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: this is not a readable YAML file ({reason}).") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: a mapping of keys to values was expected.")
    return record


def objectives_in(record: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Return the objectives of the search; a run from before there was a choice maximises its score."""
    names = _at(record, "config", "search", "objectives")
    known = [name for name in names if name in OBJECTIVES] if isinstance(names, list) else []
    return objectives_of(known or ["score"])


def recipe_of(record: Mapping[str, Any]) -> str | None:
    """Return what stands for the method that the run retrains by first; None if the record does not say, or wrongly."""
    try:
        return RetrainSection.model_validate(_at(record, "config", "retrain")).methods()[0].key
    except (ValueError, UserError):
        return None


def gradients_a_training(record: Mapping[str, Any]) -> int | None:
    """Return the image-gradients of one retraining: epochs × training images; None if the record does not say."""
    epochs, images = _at(record, "config", "retrain", "epochs"), _at(record, "splits", "train")
    return epochs * images if isinstance(epochs, int) and isinstance(images, int) else None


def sections(record: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return run.yaml as titled tables of dotted keys and values: one for what is not nested, one a mapping in it."""
    plain = [(str(key), _text(value)) for key, value in record.items() if not isinstance(value, Mapping)]
    nested = [(str(key), list(_flat(value, ""))) for key, value in record.items() if isinstance(value, Mapping)]
    return [(title, rows) for title, rows in [("command and seed", plain), *nested] if rows]


def _at(record: Any, *keys: str) -> Any:
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def _flat(value: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(item)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
