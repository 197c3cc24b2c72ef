"""Which trials are taken up again, with trials and a controller that only pretend to be Tune's."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from ray import cloudpickle
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError
from ray.tune.experiment import Trial

from dp_core.errors import UserError
from search.tune.lost_workers import PatientScheduler


@dataclass(eq=False)
class Pretended:
    """What the scheduler uses of Tune's Trial."""

    trial_id: str = "one"
    status: str = Trial.RUNNING
    config: dict[str, Any] = field(default_factory=dict)
    pickled_error_file: str | None = None


class Listening(PatientScheduler):
    def __init__(self, max_losses: int = 2, round_seconds: float | None = None) -> None:
        super().__init__(max_losses, round_seconds)
        self.heard: list[tuple[str, str]] = []

    def given_up(self, trial: Trial, reason: str) -> None:
        self.heard.append((trial.trial_id, reason))


class Controller:
    """Requeues a trial as TuneController does: `_try_recover`, `_requeue_trial` and, if asked to, `stop_trial`."""

    def __init__(self, scheduler: Listening, folder: Path) -> None:
        self.scheduler = scheduler
        self.folder = folder

    def lose(self, trial: Trial, error: Exception | None) -> None:
        if error is not None:
            path = self.folder / "error.pkl"
            path.write_bytes(cloudpickle.dumps(error))
            cast("Pretended", trial).pickled_error_file = str(path)
        trial.status = Trial.ERROR
        self.scheduler.on_trial_error(self, trial)
        trial.status = Trial.PENDING
        self.scheduler.on_trial_add(self, trial)

    def stop_trial(self, trial: Trial) -> None:
        assert trial.status == Trial.PENDING
        self.scheduler.on_trial_remove(self, trial)
        trial.status = Trial.TERMINATED


def setting(folder: Path, **settings: Any) -> tuple[Listening, Controller, Trial]:
    scheduler = Listening(**settings)
    trial = cast("Trial", Pretended())
    scheduler.sign_of_life(trial)
    return scheduler, Controller(scheduler, folder), trial


def raised(error: Exception) -> RayTaskError:
    return cast("RayTaskError", RayTaskError("step", "a traceback", error).as_instanceof_cause())


def test_a_lost_worker_is_replaced_so_many_times_in_a_row(tmp_path: Path) -> None:
    scheduler, controller, trial = setting(tmp_path, max_losses=2)
    for _ in range(2):
        controller.lose(trial, ActorDiedError())
        assert trial.status == Trial.PENDING
    controller.lose(trial, ActorDiedError())
    assert trial.status == Trial.TERMINATED
    assert scheduler.heard == [("one", "its worker was lost 3 times without a round in between")]


def test_a_round_in_between_begins_the_count_anew(tmp_path: Path) -> None:
    scheduler, controller, trial = setting(tmp_path, max_losses=1)
    for _ in range(5):
        controller.lose(trial, ActorDiedError())
        scheduler.on_trial_result(controller, trial, {})
    assert scheduler.heard == []


def test_losses_of_one_trial_are_not_those_of_another(tmp_path: Path) -> None:
    scheduler, controller, trial = setting(tmp_path, max_losses=1)
    other = cast("Trial", Pretended("other"))
    controller.lose(trial, ActorDiedError())
    controller.lose(other, ActorDiedError())
    assert scheduler.heard == []


def test_a_round_beyond_its_limit_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    scheduler, controller, trial = setting(tmp_path, round_seconds=30)
    clock[0] += 29.9
    controller.lose(trial, ActorDiedError())
    assert scheduler.heard == []
    scheduler.sign_of_life(trial)
    clock[0] += 30.1
    controller.lose(trial, ActorDiedError())
    assert scheduler.heard == [("one", "no round ended within the limit of 30 s (search.round_seconds)")]


@pytest.mark.parametrize("error", [OutOfMemoryError("killed"), ActorDiedError()])
def test_what_was_killed_for_memory_is_tried_once_more_with_half_the_batch(tmp_path: Path, error: Exception) -> None:
    if isinstance(error, ActorDiedError):
        error.error_msg += " Workers were killed due to the node running low on memory."
    scheduler, controller, trial = setting(tmp_path)
    controller.lose(trial, error)
    assert trial.config == {"memory_parts": 2}
    assert scheduler.heard == []
    controller.lose(trial, error)
    assert scheduler.heard == [("one", "out of memory, also with half the batch in memory at a time")]


def test_what_a_trial_does_not_report_itself_is_tried_again_and_told_in_the_end(tmp_path: Path) -> None:
    scheduler, controller, trial = setting(tmp_path, max_losses=1)
    controller.lose(trial, raised(ConnectionError("no such\n  bucket")))
    assert trial.status == Trial.PENDING
    controller.lose(trial, raised(ConnectionError("no such\n  bucket")))
    last = "the last time by ConnectionError: no such bucket"
    assert scheduler.heard == [("one", f"its worker was lost 2 times without a round in between, {last}")]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_fault_of_the_trial(tmp_path: Path, number: int) -> None:
    scheduler, controller, trial = setting(tmp_path)
    scheduler.refuse_full_disk()
    controller.lose(trial, raised(OSError(number, "no room", "/some/checkpoint")))
    with pytest.raises(UserError, match="no room left on the disk for /some/checkpoint"):
        scheduler.refuse_full_disk()


def test_a_trial_that_tune_itself_gives_up_is_heard_of_at_once(tmp_path: Path) -> None:
    scheduler, controller, trial = setting(tmp_path)
    scheduler.on_trial_error(controller, trial)
    assert scheduler.heard == [("one", "its worker was lost")]


def test_a_loss_of_which_nothing_can_be_read_is_a_lost_worker(tmp_path: Path) -> None:
    scheduler, controller, trial = setting(tmp_path, max_losses=1)
    controller.lose(trial, None)
    assert trial.status == Trial.PENDING
    cast("Pretended", trial).pickled_error_file = str(tmp_path / "error.pkl")
    (tmp_path / "error.pkl").write_bytes(b"half of")
    controller.lose(trial, None)
    assert scheduler.heard == [("one", "its worker was lost 2 times without a round in between")]
