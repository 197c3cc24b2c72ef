"""The engine and the usual loop are timed on the same task, the usual one without the engine's memory settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import distilled_epochs
from benchmarks.distilled_epochs import Case, measure_engine, measure_usual, timed
from benchmarks.measuring import alone
from tests.dp_core.data.shard_files import encode, random_images, write_shard


@pytest.fixture
def data(tmp_path: Path) -> Path:
    contents = [encode(image) for image in random_images(12, (8, 8, 3))]
    for split in ("train", "test"):
        write_shard(tmp_path / "data" / f"{split}-00000-of-00001.parquet", contents, [0, 1, 2] * 4)
    return tmp_path / "data"


def case(data: Path, *, epochs: int = 4, usual_epochs: int = 2, batch_size: int = 512) -> Case:
    return Case(2, 4, epochs, usual_epochs, batch_size, 0.01, "cpu", data, data.parent / "cache")


def test_time_and_speed_are_in_proportion_to_what_was_timed(tmp_path: Path) -> None:
    found = timed(case(tmp_path, epochs=100, usual_epochs=10), images=500, epochs=10, seconds=20.0)
    assert found["seconds"] == 200
    assert found["steps_per_second"] == 0.5
    assert found["images_per_second"] == 250
    assert timed(case(tmp_path, batch_size=200), 500, 10, 20.0)["steps_per_second"] == 1.5  # three steps an epoch


def test_a_usual_loop_with_the_engines_memory_is_no_usual_loop(data: Path) -> None:
    found = measure_engine(case(data))
    assert found["images"] == 6
    assert found["timed_epochs"] == 4
    with pytest.raises(RuntimeError, match="memory settings"):
        measure_usual(case(data))


def test_every_repetition_is_reported(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = "--images-per-class 2 --width 4 --epochs 4 --usual-epochs 2 --repetitions 1"
    output = tmp_path / "found.json"
    folders = ["--data", str(data), "--cache", str(tmp_path / "cache"), "--output", str(output)]
    # The engine in this process, to save the start of another; so the usual loop could not be right in it.
    monkeypatch.setattr(
        distilled_epochs, "alone", lambda run, case: alone(run, case) if run is measure_usual else run(case)
    )
    monkeypatch.setattr(sys, "argv", ["distilled_epochs.py", *options.split(), *folders])
    distilled_epochs.main()
    text = output.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    (row,) = json.loads(text)["cases"]
    (engine,), (usual,) = row["repetitions"]["engine"], row["repetitions"]["usual"]
    assert engine["seconds"] == engine["timed_seconds"]
    assert usual["seconds"] == pytest.approx(2 * usual["timed_seconds"])
    assert row["usual_to_engine"]["of_medians"] == pytest.approx(usual["seconds"] / engine["seconds"])
    assert row["goal"] == 8
