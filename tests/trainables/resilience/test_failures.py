"""What a trial raises costs it a result, and neither its worker nor the run."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.driving import (
    candidate,
    dataset,
    lasting,
    retraining,
    retraining_context,
    rows,
    screening,
    screening_context,
    ticket_in,
)
from tests.trainables.screening.test_resuming import DEMANDING
from trainables import SharedDataset

NETWORKS = "tests.trainables.networks"
TIRED = candidate(model={"name": f"{NETWORKS}:failing_later", "steps": 3})  # a round has 2 steps
BAD = candidate(model={"name": "convnet", "depth": -1})


class Broken(SharedDataset):
    """Cannot be opened."""

    error: Exception = ValueError("not open")

    def open(self) -> Any:
        raise self.error


def broken(error: Exception) -> SharedDataset:
    shared = SharedDataset.of(dataset(4, 2))
    found = Broken(shared.images, shared.labels, shared.class_names, shared.digest)
    object.__setattr__(found, "error", error)
    return found


def test_what_a_round_raises_ends_the_trial_with_its_reason() -> None:
    first, last = list(rows(screening(screening_context(), TIRED)))
    assert first["status"] == "running"
    assert last["status"] == "failed"
    assert last["reason"] == "ValueError: this network is tired"
    assert last["done"] is True
    assert "in forward\n" in last["traceback"]
    assert "ValueError: this network\nis tired" in last["traceback"]
    kept = ("round", "rung", "proxy_accuracy", "score", "image_gradients", "parameters_left")
    assert [last[key] for key in kept] == [first[key] for key in kept]  # those of the last round that was done


def test_what_the_making_of_a_trial_raises_is_told_by_its_first_step() -> None:
    trial = screening(screening_context(), BAD)
    (only,) = rows(trial)
    assert (only["status"], only["done"]) == ("failed", True)
    assert only["reason"].startswith("UserError: ")
    assert "depth" in only["reason"]
    assert "round" not in only
    assert only["score"] != only["score"]  # NaN: Tune does without no metric


def test_a_failed_trial_stays_failed(tmp_path: Path) -> None:
    trial = screening(screening_context(), TIRED)
    *_, last = rows(trial)
    trial.save(str(tmp_path))
    assert not (tmp_path / "ticket").exists()
    again = screening(screening_context(), TIRED, resume_from=str(tmp_path)).train()
    assert lasting(again) == lasting(last)


@pytest.mark.parametrize("first", [BAD, TIRED], ids=["in the making", "in a round"])
def test_the_worker_of_a_failed_trial_takes_up_the_next(first: dict[str, Any], tmp_path: Path) -> None:
    worker = screening(screening_context(rewind_step=1), first)
    *_, last = rows(worker)
    assert last["status"] == "failed"
    worker.save(str(tmp_path / "failed"))
    assert worker.reset({"trial": 7, "candidate": DEMANDING, "resume_from": None})
    fresh = screening(screening_context(rewind_step=1), DEMANDING, trial=7)
    assert [lasting(row) for row in rows(worker)] == [lasting(row) for row in rows(fresh)]


def test_a_worker_whose_next_trial_cannot_be_made_says_so_and_goes_on() -> None:
    worker = screening(screening_context(), candidate())
    worker.train()
    assert worker.reset({"trial": 1, "candidate": BAD, "resume_from": None})
    assert worker.train()["status"] == "failed"
    assert worker.reset({"trial": 0, "candidate": candidate(), "resume_from": None})
    assert [row["status"] for row in rows(worker)] == ["running", "running", "running", "finished"]


def test_a_full_disk_is_raised() -> None:
    trial = screening(screening_context(validation=broken(OSError(errno.ENOSPC, "full"))), candidate())
    with pytest.raises(OSError, match="full"):
        trial.train()


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_whoever_ends_the_process_is_heard(monkeypatch: pytest.MonkeyPatch, end: type[BaseException]) -> None:
    def interrupted(self: Any) -> None:
        raise end

    monkeypatch.setattr("trainables.screening.replicates.Replicates.run_round", interrupted)
    trial = screening(screening_context(), candidate())
    with pytest.raises(end):
        trial.train()


def test_a_failing_retraining_is_a_result_too(tmp_path: Path) -> None:
    trial = retraining(retraining_context({}))
    (only,) = rows(trial)
    assert (only["status"], only["reason"]) == ("failed", "KeyError: 0")
    trial.save(str(tmp_path))
    ticket = ticket_in(tmp_path / "ticket")
    other = retraining(retraining_context({0: ticket}, validation=broken(ValueError("no\nvalidation"))))
    (only,) = rows(other)
    assert (only["status"], only["reason"]) == ("failed", "ValueError: no validation")
    assert "epoch" not in only
