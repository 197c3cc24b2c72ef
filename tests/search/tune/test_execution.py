"""Simulated trials under Ray Tune: all end once, workers are kept, and lost ones are made up for."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from search.config.sections import ResourcesSection
from search.runs.ray_session import ray_session
from search.tune.checkpoints import CheckpointStore
from search.tune.execution import ENDS, run_trials, trial_directory
from search.tune.lost_workers import PatientScheduler
from tests.trainables.driving import lasting
from trainables import SimulatedTrainable, SimulationContext
from trainables.screening.simulated import Troubles
from trainables.screening.simulated_ticket import simulated_ticket

pytestmark = pytest.mark.ray

WORKERS = 3


class Numbers(Searcher):
    """Proposes the same candidate again and again."""

    def __init__(self, trials: int, folder: Path) -> None:
        super().__init__(metric="score", mode="max")
        self._next, self._trials = 0, trials
        self._candidate = {"sparsity": 0.5, "folder": str(folder)}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._next == self._trials:
            return cast("dict[str, Any]", Searcher.FINISHED)
        self._next += 1
        return {"trial": self._next - 1, "candidate": self._candidate, "resume_from": None}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        raise AssertionError("nothing is to be saved")

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("nothing is to be restored")


class Notes(tune.Callback):
    """Keeps what Tune tells, and how many trials it tells it of."""

    def __init__(self) -> None:
        self.rows: dict[int, list[dict[str, Any]]] = {}
        self.ends: Counter[int] = Counter()
        self.workers: set[int] = set()
        self.recoveries = 0
        self.most_trials = 0

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: Any, **info: Any) -> None:
        self.rows.setdefault(trial.config["trial"], []).append(lasting(result))
        self.workers.add(result["pid"])
        self.most_trials = max(self.most_trials, len(trials))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.ends[trial.config["trial"]] += 1

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.recoveries += 1


class Until(tune.Stopper):
    """Stops everything when `enough` says so, or after a minute and a half."""

    def __init__(self, enough: Any) -> None:
        self._enough = enough
        self._patience = time.monotonic() + 90

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self._enough()) or time.monotonic() > self._patience


@pytest.fixture(scope="module", autouse=True)
def ray_is_here() -> Iterator[None]:
    with ray_session(None, WORKERS):
        yield


class DyingInReset(SimulatedTrainable):
    """Ends its worker when it is given a trial of an odd number, the first time."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        died = Path(new_config["candidate"]["folder"]) / str(new_config["trial"])
        if new_config["trial"] % 2 and not died.exists():
            died.touch()
            os._exit(1)
        return super().reset_config(new_config)


class Listening(PatientScheduler):
    """Keeps what it is told of trials that are given up."""

    def __init__(self) -> None:
        super().__init__(max_losses=2, round_seconds=None)
        self.heard: list[str] = []

    def given_up(self, trial: Trial, reason: str) -> None:
        self.heard.append(f"{trial}: {reason}")


def noted(
    folder: Path,
    context: SimulationContext,
    trials: int,
    enough: Any = None,
    notes: Notes | None = None,
    trainable: type[tune.Trainable] = SimulatedTrainable,
    scheduler: PatientScheduler | None = None,
) -> Notes:
    notes = notes or Notes()
    run_trials(
        trainable,
        context,
        storage=str(folder),
        session="session-000",
        resources=ResourcesSection(cpus_per_job=1, gpus_per_job=0, concurrency=WORKERS),
        callback=notes,
        trials=trials,
        searcher=Numbers(trials, folder),
        scheduler=scheduler,
        stopper=None if enough is None else Until(enough),
    )
    return notes


def test_every_trial_ends_once_and_is_forgotten(tmp_path: Path) -> None:
    notes = noted(tmp_path, SimulationContext(seconds=0.02, rounds=2, ticket=simulated_ticket()), 30)
    assert notes.ends == Counter(range(30))
    assert all([row["round"] for row in rounds] == [1, 2] for rounds in notes.rows.values())
    # Those that run, the one that has just ended, and the one that takes its place.
    assert notes.most_trials <= WORKERS + 2
    ends = json.loads((tmp_path / "session-000" / ENDS).read_text())
    assert ends == {trial_directory(number): "TERMINATED" for number in range(30)}
    newest = CheckpointStore(str(tmp_path)).newest(trial_directory(29))
    assert newest is not None
    assert (Path(newest) / "ticket" / "card.json").exists()
    assert not list((tmp_path / "session-000").glob("*experiment*")), "Tune keeps no record of its own"


def test_a_trial_whose_worker_is_lost_reports_what_it_would_have(tmp_path: Path) -> None:
    troubled = noted(tmp_path / "a", SimulationContext(seconds=0.0, rounds=3, troubles=Troubles(exiting=0.5)), 8)
    calm = noted(tmp_path / "b", SimulationContext(seconds=0.0, rounds=3), 8)
    assert troubled.recoveries > 0
    assert troubled.ends == Counter(range(8))
    assert troubled.rows == calm.rows


def test_a_worker_that_is_lost_while_it_takes_up_a_trial_is_lost_once(tmp_path: Path) -> None:
    scheduler = Listening()
    context = SimulationContext(seconds=0.02, rounds=2)
    notes = noted(tmp_path, context, 20, trainable=DyingInReset, scheduler=scheduler)
    assert scheduler.heard == []
    assert notes.ends == Counter(range(20))
    assert notes.recoveries >= 5
    assert all([row["round"] for row in rows] == [1, 2] for rows in notes.rows.values())


def test_workers_that_are_slow_to_start_are_waited_for(tmp_path: Path) -> None:
    notes = Notes()
    noted(tmp_path, SimulationContext(seconds=0.02), 100_000, lambda: len(notes.workers) >= WORKERS, notes)
    assert len(notes.workers) == WORKERS


def test_a_search_can_be_stopped(tmp_path: Path) -> None:
    notes = Notes()
    noted(tmp_path, SimulationContext(seconds=0.05), 100_000, lambda: len(notes.ends) >= 5, notes)
    assert 5 <= len(notes.ends) <= 5 + WORKERS
    ends = json.loads((tmp_path / "session-000" / ENDS).read_text())
    assert set(ends.values()) == {"TERMINATED"}
    assert len(ends) <= len(notes.ends) + WORKERS + 1
