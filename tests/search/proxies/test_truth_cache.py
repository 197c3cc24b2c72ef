"""Trainings that have been paid for: shared by all that ask for the same, and by nobody else."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.proxies import RealTraining
from dp_core.training import Recipe
from search.proxies.truth_cache import TruthCache

DIGESTS = {"train": "a", "validation": "b", "test": "c"}
TRAINING = RealTraining(ModelSpec("convnet", {"depth": 1}), Recipe(steps=3), 1, tested=True)
FOUND: dict[str, Any] = {
    "status": "finished",
    "reason": None,
    "validation_accuracy": 0.5,
    "test_accuracy": 0.25,
    "seconds": 1.5,
    "processor_seconds": 1.25,
    "image_gradients": 300,
}


def test_what_is_added_is_found_by_another_process_s_cache(tmp_path: Path) -> None:
    cache = TruthCache(tmp_path / "truth", DIGESTS)
    assert cache.get(TRAINING) is None
    cache.add(TRAINING, FOUND)
    found = TruthCache(tmp_path / "truth", DIGESTS).get(TRAINING)
    assert found is not None
    assert {key: found[key] for key in FOUND} == FOUND
    assert found["architecture"] == "convnet depth=1"


@pytest.mark.parametrize(
    "other",
    [
        replace(TRAINING, seed=2),
        replace(TRAINING, tested=False),
        replace(TRAINING, recipe=Recipe(steps=4)),
        replace(TRAINING, recipe=Recipe(steps=3, learning_rate=0.02)),
        replace(TRAINING, spec=ModelSpec("convnet", {"depth": 2})),
    ],
)
def test_another_training_is_not_taken_for_it(tmp_path: Path, other: RealTraining) -> None:
    cache = TruthCache(tmp_path, DIGESTS)
    cache.add(TRAINING, FOUND)
    assert cache.get(other) is None


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_other_data_are_not_taken_for_it(tmp_path: Path, split: str) -> None:
    TruthCache(tmp_path, DIGESTS).add(TRAINING, FOUND)
    assert TruthCache(tmp_path, {**DIGESTS, split: "other"}).get(TRAINING) is None


def test_evaluations_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def write(first: int) -> None:
        cache = TruthCache(tmp_path, DIGESTS)
        for seed in range(first, first + 10):
            cache.add(replace(TRAINING, seed=seed), FOUND)

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    table = pq.read_table(tmp_path / "trainings.parquet")
    assert sorted(table["seed"].to_pylist()) == list(range(30))


def test_what_is_no_such_table_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "trainings.parquet")
    with pytest.raises(UserError, match="this is not the table that belongs there: it has no column 'architecture'"):
        TruthCache(tmp_path, DIGESTS)
    (tmp_path / "trainings.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="not a readable Parquet table"):
        TruthCache(tmp_path, DIGESTS)
