"""Trainings on real data that have been paid for: one Parquet table that all evaluations share."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from dp_core.proxies import RealTraining
from search.output.tables import read_rows, schema_of, write_table

TRAININGS = schema_of(
    {
        "key": pa.string(),
        "architecture": pa.string(),
        "spec": pa.string(),
        "recipe": pa.string(),
        "seed": pa.int64(),
        "status": pa.string(),
        "reason": pa.string(),
        "validation_accuracy": pa.float64(),
        "test_accuracy": pa.float64(),
        "seconds": pa.float64(),
        "processor_seconds": pa.float64(),
        "image_gradients": pa.int64(),
    },
    always=("key", "architecture", "spec", "recipe", "seed", "status"),
)


class TruthCache:
    """The table `trainings.parquet` in a folder; a row is found by the digest of all that the training depends on.

    Args:
        folder: made if it is not there.
        digests: of the three splits, by name.
    """

    def __init__(self, folder: Path, digests: Mapping[str, str]) -> None:
        self._folder = folder
        self._path = folder / "trainings.parquet"
        self._digests = dict(digests)
        self._rows = self._read()

    def get(self, training: RealTraining) -> dict[str, Any] | None:
        """Return what is known of a training, or None."""
        return self._rows.get(training.key(self._digests))

    def add(self, training: RealTraining, found: Mapping[str, Any]) -> None:
        """Keep what was found; other processes may add at the same time."""
        key = training.key(self._digests)
        row = {
            "key": key,
            "architecture": training.spec.label(),
            "spec": json.dumps(training.spec.to_dict()),
            "recipe": json.dumps(training.recipe.to_dict()),
            "seed": training.seed,
            **found,
        }
        with self._locked():
            self._rows = {**self._read(), key: row}
            write_table(self._path, list(self._rows.values()), TRAININGS)

    def _read(self) -> dict[str, dict[str, Any]]:
        rows = read_rows(self._path, TRAININGS) if self._path.exists() else []
        return {row["key"]: row for row in rows}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "trainings.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
