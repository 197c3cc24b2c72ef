"""Sixteen workers, each of which dies with p = 0.03 every few seconds: Ray's own test of fault tolerance, on ours.

The trials are simulated, so that sixteen fit on any machine; everything that drives them is what drives a search.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.config.models import SearchConfig
from search.pipeline import screening
from search.pipeline.preparation import prepare
from search.pipeline.study_opening import open_record
from search.pipeline.tensorboard import TensorBoardLog
from search.runs.directory import RunDirectory
from search.runs.progress import Progress
from search.runs.ray_session import ray_session
from tests.chaos import evidence
from tests.chaos.figures import Figures
from tests.search.processes import MARK, kill_one, marked
from tests.search.tiny import config_tree, write_images
from trainables.screening.simulated import SimulatedTrainable, SimulationContext
from trainables.screening.simulated_ticket import simulated_ticket

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

WORKERS, ROUNDS, PROBABILITY = 16, 5, 0.03


class CountedTrainable(SimulatedTrainable):
    """Leaves a byte behind for every round that it begins."""

    def step(self) -> dict[str, Any]:
        """Count the round and run it."""
        with Path(os.environ["WINNOW_TEST_PASSES"]).open("ab") as file:
            file.write(b".")
        return super().step()


class Killer(threading.Thread):
    """Kills each worker with a probability, again and again, until it is told to stop."""

    def __init__(self, mark: str, every: float) -> None:
        super().__init__(daemon=True)
        self._mark, self._every, self._draw = mark, every, random.Random(13)
        self.kills = 0
        self.enough = threading.Event()

    def run(self) -> None:
        """Strike."""
        while not self.enough.wait(self._every):
            for number, command in marked(self._mark).items():
                if "CountedTrainable" in command and self._draw.random() < PROBABILITY:
                    kill_one(number)
                    self.kills += 1


class UndisturbedTrainable(SimulatedTrainable):
    """Runs in this process, without Ray."""

    def setup(self, config: dict[str, Any], context: SimulationContext | None = None) -> None:
        """Take the context from the config."""
        super().setup(config, config["context"])

    def _setup_logdir(self) -> None:
        self._logdir: Any = tempfile.gettempdir()


def _undisturbed(context: SimulationContext, number: int, candidate: dict[str, Any]) -> list[dict[str, Any]]:
    instantly = replace(context, seconds=0.0)
    trial = UndisturbedTrainable({"trial": number, "candidate": candidate, "context": instantly})
    return [trial.train() for _ in range(ROUNDS)]


@pytest.mark.parametrize(("every", "trials"), [(10.0, 400), (1.0, 240)], ids=["every ten seconds", "every second"])
def test_every_trial_reaches_its_last_round_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Figures, every: float, trials: int
) -> None:
    mark, passes, began = f"chaos-{os.getpid()}-{every}", tmp_path / "passes", time.monotonic()
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("WINNOW_TEST_PASSES", str(passes))
    context = SimulationContext(seconds=1.0, rounds=ROUNDS, ticket=simulated_ticket())
    monkeypatch.setattr(screening, "ScreeningTrainable", CountedTrainable)
    monkeypatch.setattr(screening, "screening_context", lambda prepared, sets: context)
    write_images(tmp_path / "images")
    tree = config_tree(tmp_path, search={"trials": trials}, resources={"concurrency": WORKERS, "max_failures": 100})
    tree["search"]["early_stopping"] = {"method": "none"}
    tree["space"] |= {"source": "real", "ipc": None}
    run, progress = RunDirectory(tmp_path / "runs" / "tiny"), Progress(quiet=True)
    run.path.mkdir(parents=True)
    prepared = prepare(SearchConfig.model_validate(tree), "tiny.yaml", local=False)
    killer = Killer(mark, every)
    with ray_session(None, WORKERS), open_record(run, prepared, {}, progress) as record:
        board = TensorBoardLog(run.tensorboard, {})
        killer.start()
        screening.screen(run, prepared, record, {}, board, progress)
        killer.enough.set()
        board.close()
    found = evidence.kept(run.path)
    begun = passes.stat().st_size
    figures.add(
        "workers killed, p = 0.03",
        how=f"every {every:g} s, {WORKERS} workers",
        storage="journal",
        trial=f"{ROUNDS} s",
        kills=killer.kills,
        trials=len(found),
        lost=trials - len(found),
        repeated_rounds=begun - ROUNDS * trials,
        seconds=round(time.monotonic() - began),
    )
    assert killer.kills > 0
    assert [trial.state for trial in found.values()] == ["COMPLETE"] * trials
    for number, trial in found.items():
        rows = evidence.result(trial)[3]
        expected = _undisturbed(context, number, json.loads(trial.candidate)["candidate"])
        assert rows == [{key: row[key] for key in rows[0]} for row in expected]
    # A kill costs the round that ran, and the one before if it was not saved yet.
    assert ROUNDS * trials <= begun <= ROUNDS * trials + 2 * killer.kills
