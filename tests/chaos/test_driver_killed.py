"""The driver is killed, again and again, at moments that nobody chose: nothing that had ended is lost or done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import evidence
from tests.chaos.battering import FAST, SLOW, Pace, batter, finish
from tests.chaos.conftest import Undisturbed
from tests.chaos.figures import Figures
from tests.chaos.runs import STEPS, Arena

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

EPOCHS, BATCHES = 2, 3  # of a retraining: 48 images in batches of 16


def _database(arena: Arena, storage: str) -> tuple[list[str], Path | None]:
    if storage == "journal":
        return [], None
    database = arena.folder / "study.db"
    return [f"search.storage=sqlite:///{database}"], database


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
@pytest.mark.parametrize(("name", "pace"), [("0.4 s", FAST), ("5 s", SLOW)], ids=["fast", "slow"])
def test_kills_at_random_moments_lose_nothing(
    arena: Arena, undisturbed: Undisturbed, figures: Figures, storage: str, name: str, pace: Pace
) -> None:
    settings, database = _database(arena, storage)
    began = figures.seconds
    toll = batter(arena, ["search", "tiny.yaml", f"search.trials={pace.trials}", *settings], pace, 7, figures, database)
    _, trials = finish(arena, toll, pace.trials, database)
    needed = STEPS * sum(len(trial.rounds) for trial in trials.values())
    needed += EPOCHS * BATCHES * len(list((arena.run / "models").glob("[0-9]*")))
    figures.add(
        "driver killed",
        storage=storage,
        trial=name,
        kills=toll.kills,
        of_everything=toll.everything,
        trials=len(trials),
        lost=len(toll.lost),
        changed=len(toll.changed),
        doubled=len(trials) - pace.trials,
        rounds=sum(len(trial.rounds) for trial in trials.values()),
        repeated_rounds=round((arena.passes - needed) / STEPS, 2),
        seconds=round(figures.seconds - began),
    )
    assert (toll.lost, toll.changed, toll.forgotten) == ([], [], [])
    assert arena.passes >= needed
    _same_as_undisturbed(arena, trials, undisturbed)
    if pace.trials == len(undisturbed.trials):
        assert evidence.leaderboard(arena.run) == undisturbed.leaderboard
    for program in arena.programs:
        assert program.survivors() == []


def _same_as_undisturbed(arena: Arena, trials: dict[int, evidence.Kept], undisturbed: Undisturbed) -> None:
    for number, trial in trials.items():
        assert evidence.result(trial) == evidence.result(undisturbed.trials[number])
    finished = [number for number, trial in trials.items() if trial.state == "COMPLETE"]
    found = evidence.tickets(arena.run)
    assert {number: found[number] for number in finished} == {
        number: undisturbed.tickets[number] for number in finished
    }
