"""Networks that hang, crash, overflow or want too much memory: that is their trial's end, not the run's."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.chaos import evidence
from tests.chaos.evidence import Kept
from tests.chaos.figures import Figures
from tests.chaos.runs import SETTINGS, STEPS, Arena, Told, prepared

pytestmark = pytest.mark.ray

DEEDS = (
    "none", "raises", "overflows", "sleeps", "holds_the_interpreter", "out_of_memory", "out_of_memory_at_a_full_batch",
)  # fmt: skip
FINISHING = {"none", "out_of_memory_at_a_full_batch"}
LIMIT = 10  # seconds; a new worker on a busy machine needs some of them for its imports


@pytest.fixture(scope="module")
def misdeeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Arena, Told]]:
    """Run every deed once or twice, good ones first and last."""
    space = {
        "model": {**SETTINGS["space"]["model"], "deed": {"choice": list(DEEDS)}, "label": {"choice": [0.0, 1.0]}},
        "sparsity": 0.75,
        "source": "real",
        "ipc": None,
        "recipe": {"steps": STEPS, "batch_size": 16, "precision": "float32"},
    }
    points = [{"model": {"deed": deed, "label": 0.0}} for deed in DEEDS] + [{"model": {"deed": "none", "label": 1.0}}]
    search = {**SETTINGS["search"], "trials": len(points), "round_seconds": LIMIT, "start": {"points": points}}
    settings = {**SETTINGS, "space": space, "search": search, "promote": {"top": 2, "audit": 0}}
    with prepared(tmp_path_factory.mktemp("misdeeds"), settings) as arena:
        yield arena, arena.winnow("search", "tiny.yaml")


def _by_deed(arena: Arena) -> dict[str, Kept]:
    found = evidence.kept(arena.run).values()
    return {json.loads(trial.candidate)["candidate"]["model"]["deed"]: trial for trial in found}


def test_the_run_ends_with_a_leaderboard(misdeeds: tuple[Arena, Told], figures: Figures) -> None:
    arena, told = misdeeds
    assert told.status == 0, told.output
    trials = evidence.kept(arena.run)
    assert evidence.disagreements(arena.run, trials, len(DEEDS) + 1) == []
    assert len(evidence.leaderboard(arena.run)) == 2
    figures.add(
        "trials that hang, crash or want too much",
        storage="journal",
        trials=len(trials),
        failed=sum(trial.state == "FAIL" for trial in trials.values()),
        lost=len(DEEDS) + 1 - len(trials),
        seconds=round(told.seconds),
    )


def test_only_the_bad_ones_fail(misdeeds: tuple[Arena, Told]) -> None:
    states = {deed: trial.state for deed, trial in _by_deed(misdeeds[0]).items()}
    assert states == {deed: "COMPLETE" if deed in FINISHING else "FAIL" for deed in DEEDS}


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("raises", ("RuntimeError: this network does not like its images",)),
        ("overflows", ("the loss became nan by step 4 of 4",)),
        ("sleeps", (f"{LIMIT}", "search.round_seconds")),
        ("holds_the_interpreter", (f"{LIMIT}", "search.round_seconds")),
        ("out_of_memory", ("half the batch",)),
    ],
)
def test_every_failure_has_its_reason(misdeeds: tuple[Arena, Told], deed: str, words: tuple[str, ...]) -> None:
    reason = _by_deed(misdeeds[0])[deed].reason or ""
    assert [word for word in words if word not in reason] == [], reason
    assert "\n" not in reason


def test_half_the_batch_gives_the_result_of_the_whole(misdeeds: tuple[Arena, Told]) -> None:
    """The gradient of a batch is the mean of its halves', whatever fits: every step and every round is there."""
    trial = _by_deed(misdeeds[0])["out_of_memory_at_a_full_batch"]
    rows = [json.loads(row) for row in trial.rounds]
    assert [row["sparsity"] for row in rows] == pytest.approx([0, 0.5, 0.75], abs=0.01)
    assert [row["image_gradients"] for row in rows] == [64, 128, 192]


@pytest.mark.chaos
def test_a_run_in_which_everything_fails_stops_and_says_why(arena: Arena, figures: Figures) -> None:
    told = arena.winnow(
        "search",
        "tiny.yaml",
        "search.trials=40",
        "search.failures_in_a_row=5",
        "space.source=real",
        "space.ipc=null",
        "space.model.deed=raises",
    )
    assert "5 trials in a row failed" in told.sentence
    assert "RuntimeError: this network does not like its images" in told.sentence
    trials = evidence.kept(arena.run)
    assert 5 <= sum(trial.state == "FAIL" for trial in trials.values()) <= 7
    figures.add("everything fails", storage="journal", trials=len(trials), kills=0, lost=0, seconds=round(told.seconds))
