"""Every candidate of a finite space once, in a random order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.study.record import StudyRecord
from tests.search.tiny import a_round, config_of, study_of

FINITE = {
    "model": {"width": {"choice": [4, 8]}, "pooling": "max"},
    "sparsity": {"float": [0.5, 0.7], "step": 0.1},
    "source": {"choice": ["distilled", "real"]},
    "recipe": {
        "optimizer": {"choice": ["adam", "sgd"]},
        "momentum": {"float": [0.1, 0.3], "step": 0.1, "when": {"recipe.optimizer": "sgd"}},
    },
}
"""Two widths, three sparsities, Adam or SGD with three momenta: 24 on real images, as many on distilled ones."""
WHOLE = 48


def opened(folder: Path, seed: int = 0, space: dict[str, Any] = FINITE, **search: Any) -> StudyRecord:
    folder.mkdir(exist_ok=True)
    settings = {"sampler": "grid", "trials": 100, "failures_in_a_row": 100, **search}
    return study_of(folder, config_of(folder, run={"seed": seed}, space=space, search=settings))


def tried(record: StudyRecord, trials: int, state: TrialState = TrialState.COMPLETE) -> list[str]:
    """Take so many candidates at most to an end; return them as text."""
    found: list[str] = []
    while len(found) < trials and (proposal := record.propose()) is not None:
        found.append(str(proposal.candidate.written))
        record.report(proposal.number, a_round(1, 0.5))
        record.finish(proposal.number, state, None if state == TrialState.COMPLETE else "for a reason")
    return found


@pytest.mark.parametrize("seed", range(2))
def test_every_candidate_comes_once_and_then_the_search_ends(tmp_path: Path, seed: int) -> None:
    record = opened(tmp_path, seed)
    assert record.target == WHOLE
    found = tried(record, 100)
    assert len(found) == len(set(found)) == WHOLE
    assert record.counts() == {"COMPLETE": WHOLE}  # nothing was proposed in vain
    assert ["'distilled'" in one for one in found] == [True, False] * (WHOLE // 2)


def test_the_order_is_random_and_follows_from_the_seed(tmp_path: Path) -> None:
    first, again, other = (tried(opened(tmp_path / name, seed), 10) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first == again != other


def test_a_resumed_grid_goes_on_with_what_has_not_been_tried(tmp_path: Path) -> None:
    found: list[str] = []
    for state in (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED):
        found += tried(opened(tmp_path), 7, state)
    found += tried(opened(tmp_path), 100)
    assert len(found) == len(set(found)) == WHOLE


def test_points_of_the_users_come_first_and_cost_no_candidate(tmp_path: Path) -> None:
    points = [{"source": "real", "model": {"width": 8}, "sparsity": 0.6}, {"recipe": {"optimizer": "adam"}}]
    found = tried(opened(tmp_path, start={"points": points}), 100)
    assert "'real'" in found[0]
    assert "'sparsity': 0.6" in found[0]
    assert "'adam'" in found[1]
    assert len(found) == len(set(found)) == WHOLE


def test_a_space_too_large_for_a_list_is_begun_at_once(tmp_path: Path) -> None:
    space = {**FINITE, "sparsity": {"float": [0.1, 0.9], "step": 1e-6}}
    found = tried(opened(tmp_path, space=space, trials=20), 20)
    assert len(set(found)) == 20
