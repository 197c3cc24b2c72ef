"""A trial that was interrupted goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.pruning import Ticket
from tests.trainables.driving import candidate, lasting, rows, screening, screening_context
from trainables import ScreeningTrainable

# Everything that a careless resume would lose: momentum or moments, norm statistics, augmentation, a rewind point that
# is not the initialisation, a criterion that draws.
DEMANDING = candidate(
    model={"name": "convnet", "depth": 2, "width": 4, "norm": "batch", "pooling": "max"},
    recipe={"steps": 20, "augmentation": "siamese", "optimizer": "adamw"},
)


def trial_of(criterion: str = "magnitude", replicates: int = 1, **config: Any) -> ScreeningTrainable:
    context = screening_context(rewind_step=1, criterion=criterion, replicates=replicates)
    return screening(context, DEMANDING, trial=7, **config)


def finish(trial: ScreeningTrainable, folder: Path) -> tuple[list[dict[str, Any]], Ticket]:
    found = [lasting(row) for row in rows(trial)]
    trial.save(str(folder))
    return found, Ticket.load(folder / "ticket")


def assert_same_ticket(one: Ticket, other: Ticket) -> None:
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert all(torch.equal(one.mask[name], other.mask[name]) for name in one.mask)
    assert [lasting(row) for row in one.history] == [lasting(row) for row in other.history]
    assert one.provenance == other.provenance


@pytest.mark.parametrize(("criterion", "replicates"), [("magnitude", 1), ("random", 1), ("magnitude", 3)])
@pytest.mark.parametrize("way", ["restore", "resume_from"])
def test_it_goes_on_bit_for_bit(tmp_path: Path, criterion: str, replicates: int, way: str) -> None:
    whole, ticket = finish(trial_of(criterion, replicates), tmp_path / "whole")
    assert len(whole) == 4
    interrupted = trial_of(criterion, replicates)
    first = [lasting(interrupted.train()) for _ in range(2)]
    interrupted.save(str(tmp_path / "half"))
    if way == "restore":
        resumed = trial_of(criterion, replicates)
        resumed.restore(str(tmp_path / "half"))
    else:
        resumed = trial_of(criterion, replicates, resume_from=str(tmp_path / "half"))
    rest, again = finish(resumed, tmp_path / "resumed")
    assert first + rest == whole
    assert_same_ticket(again, ticket)


def test_a_network_that_draws_at_random_goes_on_bit_for_bit_too(tmp_path: Path) -> None:
    context, proposal = screening_context(), candidate(model={"name": "tests.trainables.networks:forgetful"})
    whole, ticket = finish(screening(context, proposal), tmp_path / "whole")
    interrupted = screening(context, proposal)
    first = [lasting(interrupted.train())]
    interrupted.save(str(tmp_path / "part"))
    torch.rand(3)
    rest, again = finish(screening(context, proposal, resume_from=str(tmp_path / "part")), tmp_path / "resumed")
    assert first + rest == whole
    assert_same_ticket(again, ticket)


def test_seconds_go_on_from_those_already_spent(tmp_path: Path) -> None:
    trial = trial_of()
    spent = trial.train()["seconds"]
    trial.save(str(tmp_path))
    assert trial_of(resume_from=str(tmp_path)).train()["seconds"] > spent


@pytest.mark.parametrize("way", ["restore", "resume_from"])
def test_the_first_result_after_a_checkpoint_has_the_rows_before_it(tmp_path: Path, way: str) -> None:
    trial = trial_of()
    first = [lasting(trial.train()) for _ in range(2)]
    trial.save(str(tmp_path))
    resumed = trial_of(resume_from=str(tmp_path) if way == "resume_from" else None)
    if way == "restore":
        resumed.restore(str(tmp_path))
    third, fourth = resumed.train(), resumed.train()
    assert [{**lasting(row), "done": False} for row in third["earlier"]] == first
    assert "earlier" not in fourth


def test_a_checkpoint_before_the_first_round_is_a_start(tmp_path: Path) -> None:
    whole, ticket = finish(trial_of(), tmp_path / "whole")
    trial_of().save(str(tmp_path / "nothing"))
    again, same = finish(trial_of(resume_from=str(tmp_path / "nothing")), tmp_path / "again")
    assert again == whole
    assert_same_ticket(same, ticket)


@pytest.mark.parametrize("replicates", [1, 2])
def test_a_trial_whose_end_nobody_heard_says_it_again(tmp_path: Path, replicates: int) -> None:
    whole, ticket = finish(trial_of(replicates=replicates), tmp_path / "whole")
    resumed = trial_of(replicates=replicates, resume_from=str(tmp_path / "whole"))
    for _ in range(2):
        row = resumed.train()
        assert lasting(row) == whole[-1]
        assert row["done"] is True
    resumed.save(str(tmp_path / "again"))
    assert_same_ticket(Ticket.load(tmp_path / "again" / "ticket"), ticket)


@pytest.mark.parametrize("recipe", [{"learning_rate": 1e30, "optimizer": "sgd"}])
def test_a_diverged_trial_stays_diverged(tmp_path: Path, recipe: dict[str, Any]) -> None:
    context, proposal = screening_context(), candidate(recipe=recipe)
    trial = screening(context, proposal)
    (last,) = rows(trial)
    trial.save(str(tmp_path))
    again = screening(context, proposal, resume_from=str(tmp_path)).train()
    assert again["status"] == "diverged"
    assert again["reason"] == last["reason"]
    assert again["done"] is True


def test_a_worker_resumes_one_candidate_after_another(tmp_path: Path) -> None:
    whole, ticket = finish(trial_of(), tmp_path / "whole")
    interrupted = trial_of()
    interrupted.train()
    interrupted.save(str(tmp_path / "half"))
    worker = screening(screening_context(rewind_step=1), candidate(), trial=1)
    worker.train()
    worker.reset({"trial": 7, "candidate": DEMANDING, "resume_from": str(tmp_path / "half")})
    rest, again = finish(worker, tmp_path / "resumed")
    assert rest == whole[1:]
    assert_same_ticket(again, ticket)
