"""A trial that runs out of memory goes on with less, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.judging import judge
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
from trainables import SharedDataset

NETWORKS = "tests.trainables.networks"


def limited(**limits: int) -> dict[str, Any]:
    return candidate(model={"name": f"{NETWORKS}:large", **limits})


@pytest.mark.parametrize("limits", [{"training": 8}, {"evaluation": 250}], ids=["training", "evaluation"])
def test_out_of_memory_a_trial_goes_on_with_half_the_batch(limits: dict[str, int]) -> None:
    # Steps have 16 images, evaluations 500 of 600.
    context = screening_context(validation=SharedDataset.of(dataset(200, 2)))
    found = list(rows(screening(context, limited(**limits))))
    assert [row["status"] for row in found] == ["running", "running", "running", "finished"]
    assert "half the batch" in found[0]["note"]
    assert all("note" not in row for row in found[1:])
    whole = list(rows(screening(context, limited())))
    for row, expected in zip(found, whole, strict=True):
        assert row["proxy_loss"] == pytest.approx(expected["proxy_loss"], rel=1e-4)
        assert row["image_gradients"] == expected["image_gradients"]


def test_memory_that_runs_out_later_costs_no_round(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = screening(screening_context(), candidate())
    first = lasting(trial.train())
    _fail_once(monkeypatch, MemoryError())
    second = trial.train()
    assert "half the batch" in second["note"]
    whole = screening(screening_context(), candidate())
    assert lasting(whole.train()) == first
    expected = whole.train()
    assert second["round"] == 2
    assert second["proxy_loss"] == pytest.approx(expected["proxy_loss"], rel=1e-4)
    assert second["image_gradients"] == expected["image_gradients"]


def _fail_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the next evaluation, which comes when a round is all but over, fail with `error`."""

    def failing(*arguments: Any, **settings: Any) -> Any:
        monkeypatch.setattr("trainables.screening.replicates.judge", judge)
        raise error

    monkeypatch.setattr("trainables.screening.replicates.judge", failing)


def test_out_of_memory_for_the_second_time_is_a_failure_that_says_so() -> None:
    (only,) = rows(screening(screening_context(), limited(training=7)))
    assert only["status"] == "failed"
    assert only["reason"] == (
        "out of memory also with half the batch in memory at a time: MemoryError: 8 images are too many"
    )
    assert "half the batch" in only["note"]


def test_a_trial_may_begin_with_half_the_batch() -> None:
    config = {"trial": 0, "candidate": limited(training=8), "resume_from": None, "memory_parts": 2}
    worker = screening(screening_context(), candidate())
    worker.reset(config)
    found = list(rows(worker))
    assert [row["status"] for row in found] == ["running", "running", "running", "finished"]
    assert all("note" not in row for row in found)
    worker.reset({**config, "candidate": limited(training=7)})
    assert worker.train()["reason"].startswith("out of memory also with half the batch")


def test_a_trial_that_was_short_of_memory_goes_on_bit_for_bit(tmp_path: Path) -> None:
    context, proposal = screening_context(rewind_step=1), limited(training=8)
    trial = screening(context, proposal)
    trial.train()
    trial.save(str(tmp_path))
    rest = [lasting(row) for row in rows(trial)]
    resumed = [lasting(row) for row in rows(screening(context, proposal, resume_from=str(tmp_path)))]
    assert resumed == rest
    assert "note" not in resumed[0]


def test_a_retraining_short_of_memory_goes_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = ticket_in(tmp_path / "ticket")
    whole = list(rows(retraining(retraining_context({0: ticket}))))
    trial = retraining(retraining_context({0: ticket}))
    trial.train()
    monkeypatch.setattr("trainables.retraining.trainable.judge", _failing_for(500))
    second, third = rows(trial)
    assert "half the batch" in second["note"]
    assert second["train_loss"] == pytest.approx(whole[1]["train_loss"], rel=1e-4)
    assert third["test_accuracy"] == whole[2]["test_accuracy"]


def _failing_for(size: int) -> Callable[..., Any]:
    def limited_to(*arguments: Any, batch_size: int, **settings: Any) -> Any:
        if batch_size >= size:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return judge(*arguments, batch_size=batch_size, **settings)

    return limited_to
