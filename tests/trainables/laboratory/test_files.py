"""Where results are: every cell and ticket has a place of its own."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.trainables.laboratory.comparisons import method, timeless
from trainables.laboratory import Cell, ComparisonFiles, Job, read_result
from trainables.laboratory.files import write_result
from trainables.laboratory.timing import Stopwatch


def test_paths_of_a_cell(tmp_path: Path) -> None:
    files, cell = ComparisonFiles(tmp_path), Cell("net", 1, "imp-30", 0.956)
    assert files.ticket(cell) == tmp_path / "tickets/net/seed1/imp-30/95.6"
    assert files.training(cell) == tmp_path / "trainings/net/seed1/imp-30/95.6.json"
    assert files.search(Cell("net", 1, "imp-30")) == tmp_path / "searches/net/seed1/imp-30.json"
    assert files.learning_rate("net", "imp-30") == tmp_path / "learning_rates/net/imp-30.json"
    assert files.state(cell, "training0") == tmp_path / "unfinished/net/seed1/imp-30/95.6.training0"


@pytest.mark.parametrize("fraction", [0.2, 0.28])
def test_sparsities_of_thirty_rounds_have_folders_of_their_own(fraction: float) -> None:
    names = [Cell("net", 0, "imp", 1 - (1 - fraction) ** rounds).name for rounds in range(31)]
    assert all(one != other for one, other in pairwise(names))


def test_a_jobs_result_is_what_it_writes(tmp_path: Path) -> None:
    files, cell = ComparisonFiles(tmp_path), Cell("net", 1, "imp")
    assert Job("tune", cell).result(files) == files.learning_rate("net", "imp")
    assert Job("find", cell).result(files) == files.search(cell)
    assert Job("train", Cell("net", 1, "imp", 0.5)).result(files) == files.training(Cell("net", 1, "imp", 0.5))


def test_a_result_comes_back_and_its_absence_is_none(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "result.json"
    assert read_result(path) is None
    write_result(path, {"accuracy": 0.5})
    assert read_result(path) == {"accuracy": 0.5}
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]


def test_the_set_that_a_method_trains_on() -> None:
    assert method(source="real").set_key is None
    assert method(source="subset", images_per_class=3).set_key is None
    assert method(source="distilled", images_per_class=3).set_key == "distilled-3"
    assert method(source="mtt").set_key == "mtt"


def test_a_stopwatch_adds_up_and_goes_on() -> None:
    watch = Stopwatch(2.0, 1.0)
    with watch.running():
        sum(range(1000))
    with pytest.raises(ZeroDivisionError), watch.running():
        raise ZeroDivisionError
    told = watch.so_far()
    assert 2 < told["seconds"] < 3
    assert 1 <= told["processor_seconds"] < 2
    assert Stopwatch(**told) == watch
    assert timeless(told) == {}
