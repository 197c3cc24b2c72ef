from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dp_core.errors import UserError
from search.runs.directory import RunDirectory, find_run, model_name

# Holds the lock until its standard input closes or it is killed.
HOLDER = """
import sys
from pathlib import Path
from search.runs.directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_driver_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with holder(tmp_path) as process:
        assert run.is_driven()
        with pytest.raises(UserError) as caught, run.locked():
            pass
        assert str(caught.value) == f"The run {tmp_path} is already being driven by process {process.pid}."
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not run.is_driven()
        with run.locked():
            assert run.is_driven()
            assert (tmp_path / "driver.lock").read_text() == str(os.getpid())
        assert not run.is_driven()


def test_a_phase_is_over_with_its_driver(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.state(finished=False) == "stopped"
    with run.locked():
        run.enter("distilling")
        assert run.state(finished=False) == run.state(finished=True) == "distilling"
        with pytest.raises(UserError, match=f"driven by process {os.getpid()}\\.$"), run.locked():
            pass
    assert (run.state(finished=False), run.state(finished=True)) == ("stopped", "finished")
    with run.locked():
        assert run.state(finished=False) == "starting"


def test_the_lock_is_let_go_of_after_an_error(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    with run.locked():
        pass


def test_looking_for_a_driver_leaves_nothing(tmp_path: Path) -> None:
    assert not RunDirectory(tmp_path).is_driven()
    assert list(tmp_path.iterdir()) == []


def test_tickets_and_models_are_those_that_are_whole(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert (run.tickets(), run.models()) == ([], [])
    run.ticket(12).mkdir(parents=True)
    run.ticket(3).mkdir()
    (tmp_path / "tickets" / ".00007.abc.tmp").mkdir()  # being written, or left so by a killed driver
    names = [model_name(12, seed, "5epochs-abc123") for seed in (0, 1)]
    for name in reversed(names):
        run.model(name).mkdir(parents=True)
    (tmp_path / "models" / ".00003-seed0.abc.tmp").mkdir()
    assert run.tickets() == [3, 12]
    assert run.models() == [run.model(name) for name in names]
    assert run.model(names[1]) == tmp_path / "models" / "00012-seed1-5epochs-abc123"
    assert run.ticket(12) == tmp_path / "tickets" / "00012"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.yaml").write_text("config: {}\n")
    return tmp_path / "runs"


def test_a_run_is_found_by_path_and_by_name(runs: Path) -> None:
    for given in ("one", "runs/one", str(runs / "one"), "runs/one/"):
        assert find_run(given).path == (runs / "one").resolve()
    assert find_run("two", runs).path == (runs / "two").resolve()


def test_what_is_no_run_is_told_with_the_runs_there_are(runs: Path) -> None:
    (runs / "empty").mkdir()
    for given in ("three", "empty", "runs/empty"):
        with pytest.raises(UserError, match=f"There is no run '{given}': there are one, two"):
            find_run(given)
    with pytest.raises(UserError, match="has none"):
        find_run("one", runs / "elsewhere")


def test_of_a_path_the_runs_beside_it_are_told(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "other").mkdir(parents=True)
    (tmp_path / "elsewhere" / "other" / "run.yaml").write_text("config: {}\n")
    for given in ("elsewhere/one", str(tmp_path / "elsewhere" / "one")):
        with pytest.raises(UserError, match=f"There is no run '{given}': there are other\\.$"):
            find_run(given)
    with pytest.raises(UserError, match="'nowhere/one': nowhere has none"):
        find_run("nowhere/one")


def test_what_a_killed_driver_left_half_written_is_swept_away(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    whole = run.ticket(3)
    whole.mkdir(parents=True)
    half = whole.with_name(".00004.57823f85.tmp")
    half.mkdir()
    (half / "card.json").touch()
    (tmp_path / ".report.html.0af3313c.tmp").touch()
    run.config.touch()
    run.sweep()
    assert {path.name for path in tmp_path.rglob("*")} == {"tickets", "00003", "run.yaml"}
