"""The rungs of a ladder, and what a candidate is on each."""

from __future__ import annotations

from typing import Any

import pytest

from dp_core.errors import UserError
from tests.trainables.driving import CLASSES, candidate
from trainables import Candidate, LadderPlan

LADDER = LadderPlan(zero_cost="nwot", ipc=(2, 1), real_epochs=2)
CLIMBER = candidate(source="distilled", ipc=4)


@pytest.mark.parametrize(
    ("source", "ipc", "expected"),
    [
        ("distilled", 4, ("distilled-1", "distilled-2", "distilled-4")),
        ("subset", 2, ("subset-1", "subset-2")),
        ("subset", 1, ("subset-1",)),
        ("real", None, ("real",)),
    ],
)
def test_the_sets_of_a_ladder_are_its_own_and_those_below(source: str, ipc: int | None, expected: tuple[str]) -> None:
    found = Candidate.parse(candidate(source=source, ipc=ipc), len(CLASSES))
    assert found.ladder_keys((2, 1, 2)) == expected
    assert found.ladder_keys(()) == expected[-1:]
    assert LADDER.fidelities(found) == ("nwot", *expected, "real-epochs-2")
    assert LadderPlan().fidelities(found) == expected[-1:]


def test_a_budget_of_image_gradients_is_the_same_on_every_rung() -> None:
    proposal = {**candidate(source="distilled", ipc=4, image_gradients=120), "recipe": {"batch_size": 8}}
    found = Candidate.parse(proposal, 3).rungs((1, 2), 3)
    # Batches of 3, 6 and, of 12 images, 8.
    assert [(each.images_per_class, each.recipe.steps) for each in found] == [(1, 40), (2, 20), (4, 15)]
    assert found == tuple(Candidate.parse({**proposal, "ipc": ipc}, 3) for ipc in (1, 2, 4))
    assert [each.written["ipc"] for each in found] == [1, 2, 4]
    assert all((each.model, each.source) == (found[-1].model, "distilled") for each in found)


def test_steps_that_are_given_stay() -> None:
    assert [each.recipe.steps for each in Candidate.parse(CLIMBER, 3).rungs((1, 2), 3)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"zero_cost": "nwott"}, "Did you mean 'nwot'"),
        ({"zero_cost": "real_training"}, "Known: parameters, flops, synflow"),
        ({"ipc": (0,)}, "at least 1 image a class"),
        ({"real_epochs": -1}, "0 or more epochs"),
    ],
)
def test_an_impossible_ladder_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        LadderPlan(**settings)
