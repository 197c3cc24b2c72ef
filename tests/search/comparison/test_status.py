"""How far a comparison is, told from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.comparison.status import comparison_status
from search.runs.checks import splits_of
from search.runs.directory import RunDirectory
from search.runs.record import new_record, write_record
from tests.search.comparison.tiny_comparison import comparison_config
from tests.search.tiny import write_images
from trainables.laboratory import Cell, ComparisonFiles, Job
from trainables.laboratory.files import write_result

SETTINGS: dict[str, Any] = {
    "methods": {"dense": {"kind": "dense"}, "imp": {"source": "real", "steps": 2, "learning_rate": [0.1, 0.2]}}
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    write_images(tmp_path / "images")
    config = comparison_config(tmp_path, **SETTINGS)
    run = RunDirectory(tmp_path / "runs" / "tiny")
    run.path.mkdir(parents=True)
    write_record(run, new_record(["winnow"], config, splits_of(config)))
    return run


def finish(run: RunDirectory, kind: Any, seed: int, method: str, *tickets: float) -> None:
    files = ComparisonFiles(run.path)
    for target in tickets if kind == "find" else ():
        files.ticket(Cell("tiny", seed, method, target)).mkdir(parents=True)
    for cell in (
        [Cell("tiny", seed, method, target) for target in tickets] if kind == "train" else [Cell("tiny", seed, method)]
    ):
        write_result(Job(kind, cell).result(files), {"status": "finished", "rounds": [], "tickets": []})


def told(run: RunDirectory) -> list[str]:
    status = comparison_status(run)
    return [status[key] for key in ("state", "learning_rates_done", "searches_done", "trainings_done")]


def test_a_study_is_counted_job_by_job(run: RunDirectory) -> None:
    before = sorted(run.path.rglob("*"))
    assert told(run) == ["stopped", "0 of 1", "0 of 4", "0 of 6"]  # two seeds; one and two tickets
    assert sorted(run.path.rglob("*")) == before
    finish(run, "tune", 0, "imp")
    finish(run, "find", 0, "dense", 0.0)
    finish(run, "train", 0, "dense", 0.0)
    assert told(run) == ["stopped", "1 of 1", "1 of 4", "1 of 6"]
    assert comparison_status(run)["models"] == [str(ComparisonFiles(run.path).ticket(Cell("tiny", 0, "dense", 0.0)))]


def test_a_study_that_is_driven_is_in_a_phase(run: RunDirectory) -> None:
    with run.locked():
        assert told(run)[0] == "starting"
        run.enter("comparing")
        assert told(run)[0] == "comparing"
    assert told(run)[0] == "stopped"


def test_a_study_whose_last_tickets_cannot_be_found_is_finished(run: RunDirectory) -> None:
    finish(run, "tune", 0, "imp")
    for seed in (0, 1):
        finish(run, "find", seed, "dense", 0.0)
        finish(run, "train", seed, "dense", 0.0)
        finish(run, "find", seed, "imp", 0.5)  # it collapsed on its way to 0.8
        finish(run, "train", seed, "imp", 0.5)
    assert told(run)[:3] == ["finished", "1 of 1", "4 of 4"]
