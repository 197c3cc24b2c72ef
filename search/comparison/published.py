"""Curves from a paper, to be drawn beside ours."""

from __future__ import annotations

import csv
from pathlib import Path

from dp_core.errors import UserError
from search.comparison.figures import Published


def read_published(path: Path) -> list[Published]:
    """Return the curves of a CSV file with the columns `method`, `sparsity` and `test_accuracy_mean`, by method.

    Raises:
        UserError: the file cannot be read, lacks a column, has something that is not a number from 0 to 1, or has the
            rows of several data sets or networks.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                sparsities, accuracies = curves.setdefault(row["method"], ([], []))
                sparsity = _share(row["sparsity"])
                if sparsity in sparsities:
                    raise UserError(
                        f"{path} has more than one accuracy of {row['method']} at {sparsity:g}: "
                        f"keep the rows of one data set and network."
                    )
                sparsities.append(sparsity)
                accuracies.append(_share(row["test_accuracy_mean"]))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except KeyError as error:
        raise UserError(f"{path} has no column {error}.") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is no table of published curves: {error}.") from error
    return [(name, *curve) for name, curve in curves.items()]


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text} is not from 0 to 1")
    return value
