"""The Parquet tables of `winnow proxy-eval`: every column typed, every one nullable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from search.output.typed_tables import read_typed, write_typed
from search.proxies.cells import Row

_COMMAND = "winnow proxy-eval"
_TEXT, _WHOLE, _NUMBER = pa.string(), pa.int64(), pa.float64()


def _numbers(*names: str) -> dict[str, pa.DataType]:
    return dict.fromkeys(names, _NUMBER)


_INTERVALS = _numbers(*(f"{name}{end}" for name in ("spearman", "kendall") for end in ("", "_low", "_high")))
_COSTS = _numbers("seconds", "processor_seconds", "image_gradients", "flops")

SCORES = pa.schema(
    {
        "architecture": _TEXT,
        "proxy": _TEXT,
        "replicate": _WHOLE,
        "value": _NUMBER,
        "seconds": _NUMBER,
        "processor_seconds": _NUMBER,
        "image_gradients": _WHOLE,
        "forward_images": _WHOLE,
        "flops": _NUMBER,
        "status": _TEXT,
        "reason": _TEXT,
    }
)
TRUTHS = pa.schema(
    {
        "architecture": _TEXT,
        "parameters": _WHOLE,
        "forward_flops": _WHOLE,
        "accuracy": _NUMBER,
        "accuracy_std": _NUMBER,
        "seeds": _WHOLE,
        "learning_rate": _NUMBER,
        "image_gradients": _WHOLE,
        "flops": _NUMBER,
        "seconds": _NUMBER,
        "processor_seconds": _NUMBER,
        "status": _TEXT,
        "reason": _TEXT,
    }
)
ANSWERS = pa.schema(
    {
        "proxy": _TEXT,
        "kind": _TEXT,
        "architectures": _WHOLE,
        "failed": _WHOLE,
        **_INTERVALS,
        **_COSTS,
        "baseline": _TEXT,
        **_numbers("advantage", "advantage_low", "advantage_high"),
    }
)
SUBSETS = pa.schema({"proxy": _TEXT, "subset": _TEXT, "architectures": _WHOLE, **_INTERVALS})
REGRETS = pa.schema({"proxy": _TEXT, "k": _WHOLE, "regret": _NUMBER, "random_regret": _NUMBER})
BUDGETS = pa.schema({"proxy": _TEXT, "k": _WHOLE, "unit": _TEXT, "cost": _NUMBER, "accuracy": _NUMBER})


def write_scores(rows: Sequence[Row], path: Path) -> None:
    """Write one row per architecture × score × replicate, the columns of `SCORES`; absent ones are null.

    A value is higher for what is expected to be better; one that could not be had has a `status` and a `reason`.
    Raises ValueError for an unknown column and for a value that does not fit its column.
    """
    write_typed(rows, path, SCORES)


def read_scores(path: Path) -> list[dict[str, Any]]:
    """Return the rows that `write_scores` wrote; raises UserError for a file that is no such table."""
    return read_typed(path, SCORES, _COMMAND)


def write_truths(rows: Sequence[Row], path: Path) -> None:
    """Write one row per architecture, the columns of `TRUTHS`.

    `accuracy` is a fraction, the mean over `seeds`; `forward_flops` are of one image forward, `flops` and the other
    costs of all its trainings, those that chose the learning rate too. Raises ValueError as `write_scores`.
    """
    write_typed(rows, path, TRUTHS)


def read_truths(path: Path) -> list[dict[str, Any]]:
    """Return the rows that `write_truths` wrote; raises UserError as `read_scores`."""
    return read_typed(path, TRUTHS, _COMMAND)


def write_answers(rows: Sequence[Row], path: Path) -> None:
    """Write one row per score, the columns of `ANSWERS`.

    Correlations lie in [-1, 1] and advantages in [-2, 2], `_low` and `_high` being the ends of their 95 % intervals;
    costs are means per architecture. Raises ValueError as `write_scores`.
    """
    write_typed(rows, path, ANSWERS)


def read_answers(path: Path) -> list[dict[str, Any]]:
    """Return the rows that `write_answers` wrote; raises UserError as `read_scores`."""
    return read_typed(path, ANSWERS, _COMMAND)


def write_subsets(rows: Sequence[Row], path: Path) -> None:
    """Write one row per score × subset of the architectures, the columns of `SUBSETS`.

    Raises ValueError as `write_scores`.
    """
    write_typed(rows, path, SUBSETS)


def read_subsets(path: Path) -> list[dict[str, Any]]:
    """Return the rows that `write_subsets` wrote; raises UserError as `read_scores`."""
    return read_typed(path, SUBSETS, _COMMAND)


def write_regrets(rows: Sequence[Row], path: Path) -> None:
    """Write one row per score × k, the columns of `REGRETS`; regrets are fractions of accuracy.

    Raises ValueError as `write_scores`.
    """
    write_typed(rows, path, REGRETS)


def read_regrets(path: Path) -> list[dict[str, Any]]:
    """Return the rows that `write_regrets` wrote; raises UserError as `read_scores`."""
    return read_typed(path, REGRETS, _COMMAND)


def write_budgets(rows: Sequence[Row], path: Path) -> None:
    """Write one row per way to choose × k × unit, the columns of `BUDGETS`.

    `cost` is the total in `unit`, `accuracy` a fraction, that of the architecture that is found. Raises ValueError as
    `write_scores`.
    """
    write_typed(rows, path, BUDGETS)


def read_budgets(path: Path) -> list[dict[str, Any]]:
    """Return the rows that `write_budgets` wrote; raises UserError as `read_scores`."""
    return read_typed(path, BUDGETS, _COMMAND)
