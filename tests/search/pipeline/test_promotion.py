"""Who is retrained: the best of each source in turns, by score, by front or by sparsity, and who is drawn to check."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from dp_core.errors import UserError
from search.config.models import PromoteSection
from search.config.objectives import objectives_of
from search.pipeline.promotion import NothingToPromote, promote
from search.pipeline.promotion_file import Promotion, promotion_before, read_promotion, set_aside, write_promotion
from tests.search.tiny import a_round

SOURCES = CategoricalDistribution(["distilled", "subset", "real"])
SCORE = objectives_of(["score"])
STOPPED = "stopped early after round 2: others were better"


def trial(
    number: int,
    score: float | None,
    *,
    state: TrialState = TrialState.COMPLETE,
    source: str | None = None,
    reason: str | None = None,
    constraints: dict[str, float] | None = None,
    **measures: float,
) -> FrozenTrial:
    """Return a trial whose first round was better than its last, and whose last round has this score."""
    attributes: dict[str, Any] = {} if reason is None else {"reason": reason}
    if score is not None:
        attributes["round:0002"] = a_round(2, score, **{"sparsity": 0.5, **measures}).to_row()
        attributes["round:0001"] = a_round(1, 99.0, sparsity=0.99, parameters_left=1).to_row()
    created = create_trial(
        state=state,
        value=score if state == TrialState.COMPLETE else None,
        params={"source": source} if source else {},
        distributions={"source": SOURCES} if source else {},
        user_attrs=attributes,
        constraints=constraints,
    )
    created.number = number
    return created


def trials(*scores: float) -> list[FrozenTrial]:
    """Return finished trials of these scores, of one source, numbered from 0."""
    return [trial(number, score) for number, score in enumerate(scores)]


def sourced(*scores: tuple[float, str]) -> list[FrozenTrial]:
    """Return finished trials of these scores and sources, numbered from 0."""
    return [trial(number, score, source=source) for number, (score, source) in enumerate(scores)]


def promoted(found: Sequence[FrozenTrial], top: int, by: str = "score", names: Sequence[str] = ("score",)) -> list[int]:
    settings = PromoteSection.model_validate({"top": top, "by": by})
    return list(promote(found, settings, objectives_of(names), 0).promoted)


def test_the_best_scores_come_first() -> None:
    found = trials(0.3, 0.9, 0.5, 0.7)
    assert promoted(found, 3) == [1, 3, 2]
    assert promoted(found, 99) == [1, 3, 2, 0]


def test_among_equals_the_earlier_trial_wins() -> None:
    assert promoted(trials(0.5, 0.6, 0.6, 0.5), 4) == [1, 2, 0, 3]


def test_what_is_minimised_is_best_when_least() -> None:
    found = [trial(number, 0.5, parameters_left=left) for number, left in enumerate([300, 100, 200])]
    assert promoted(found, 3, names=["parameters", "score"]) == [1, 2, 0]


def test_only_finished_trials_are_promoted() -> None:
    found = [
        trial(0, 0.99, state=TrialState.PRUNED, reason=STOPPED),
        trial(1, 0.1),
        trial(2, None, state=TrialState.FAIL),
        trial(3, 0.8, state=TrialState.RUNNING),
    ]
    assert promoted(found, 4) == [1]


def test_the_best_of_every_source_goes_before_the_second_of_any() -> None:
    found = sourced(
        (0.9, "real"), (0.8, "real"), (0.3, "distilled"), (0.7, "real"), (0.2, "subset"), (0.35, "distilled")
    )
    assert promoted(found, 2) == [0, 5]
    assert promoted(found, 3) == [0, 5, 4]
    assert promoted(found, 5) == [0, 5, 4, 1, 2]
    assert promoted(found, 6) == [0, 5, 4, 1, 2, 3]


def test_scores_of_zero_are_scores() -> None:
    assert promoted(trials(0.0, 0.0), 1) == [0]


def test_without_a_finished_trial_there_is_nothing_to_retrain() -> None:
    found = [
        trial(0, 0.5, state=TrialState.PRUNED, reason=STOPPED),
        trial(1, 0.4, state=TrialState.PRUNED, reason="collapsed"),
        trial(2, None, state=TrialState.FAIL),
        trial(3, None, state=TrialState.PRUNED),
    ]
    found[3].set_user_attr("rejected", True)
    with pytest.raises(UserError, match=r"so there is nothing to retrain: 1 failed, the last with: .*; 1 collap"):
        promote(found, PromoteSection(), SCORE, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from(SOURCES.choices)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 12),
    st.sampled_from(["score", "pareto"]),
)
def test_no_source_is_left_out_while_there_is_room(given: list[tuple[float, str]], top: int, by: str) -> None:
    found = sourced(*given)
    chosen = promoted(found, top, by)
    assert len(chosen) == len(set(chosen)) == min(top, len(found))
    assert len({given[number][1] for number in chosen}) == min(top, len({source for _, source in given}))
    assert given[chosen[0]][0] == max(score for score, _ in given)
    # More room never takes a place away.
    assert promoted(found, top + 1, by)[: len(chosen)] == chosen


def test_what_breaks_a_constraint_is_not_promoted() -> None:
    found = [
        trial(0, 0.9, constraints={"max_parameters": 1.0}),
        trial(1, 0.8, constraints={"max_parameters": 0.0, "max_flops": -3.0}),
        trial(2, 0.7, constraints={"max_parameters": -1.0, "max_flops": 0.5}),
        trial(3, 0.6),
    ]
    chosen = promote(found, PromoteSection(top=4, audit=4), SCORE, 0)
    assert chosen == Promotion((1, 3), (), 0)
    with pytest.raises(UserError, match=r"None of the 2 trials that reached .* \(1 break 'max_parameters'\)"):
        promote([found[0], found[2]], PromoteSection(), SCORE, 0)


TWO = ["score", "parameters"]


def front_of(*points: tuple[float, float]) -> list[FrozenTrial]:
    return [trial(number, score, parameters_left=left) for number, (score, left) in enumerate(points)]


def test_a_front_is_promoted_by_the_hypervolume_that_it_dominates() -> None:
    # The front is 0, 1, 2 and 3; 4 and 5 are dominated by 1. Scaled to [0, 1], with the reference at -0.1:
    # 0: 1.1 x 0.1 = 0.11, 1: 0.9 x 0.9 = 0.81, 2: 0.1 x 1.1 = 0.11, 3: 0.95 x 0.825 = 0.784.
    found = front_of((1.0, 100), (0.8, 20), (0.0, 0), (0.85, 27.5), (0.79, 30), (0.7, 40))
    # Beyond 1, 0 and 2 each add 0.2 x 0.1 = 0.02, and 3 adds 0.05 x 0.825 = 0.041.
    assert promoted(found, 2, "pareto", TWO) == [1, 3]
    # Beyond 1 and 3, 2 adds 0.02 and 0 adds 0.15 x 0.1 = 0.015.
    assert promoted(found, 3, "pareto", TWO) == [1, 3, 2]
    assert promoted(found, 4, "pareto", TWO) == [1, 3, 2, 0]
    # The second front is 4, the third 5.
    assert promoted(found, 9, "pareto", TWO) == [1, 3, 2, 0, 4, 5]


def test_with_one_objective_the_fronts_are_the_scores() -> None:
    found = trials(0.3, 0.9, 0.5, 0.7, 0.9)
    assert promoted(found, 5, "pareto") == promoted(found, 5) == [1, 4, 3, 2, 0]


def test_a_source_has_a_front_of_its_own() -> None:
    # Every subset trial is dominated by every real one.
    found = [
        trial(0, 0.9, source="real", parameters_left=10),
        trial(1, 0.8, source="real", parameters_left=5),
        trial(2, 0.2, source="subset", parameters_left=30),
        trial(3, 0.1, source="subset", parameters_left=40),
    ]
    assert promoted(found, 2, "pareto", TWO) == [0, 2]
    assert promoted(found, 4, "pareto", TWO) == [0, 2, 1, 3]


def test_a_trial_without_a_value_is_not_promoted_by_it() -> None:
    found = [trial(0, 0.5, latency_ms=2.0), trial(1, 0.6)]
    found[1].user_attrs["round:0002"]["latency_ms"] = None
    assert promoted(found, 2, "pareto", ["score", "latency"]) == [0]
    assert promoted(found, 2, "score", ["score", "latency"]) == [1, 0]


def sparse(*points: tuple[float, float]) -> list[FrozenTrial]:
    return [trial(number, score, sparsity=sparsity) for number, (score, sparsity) in enumerate(points)]


def test_each_bucket_of_sparsity_has_its_best_promoted() -> None:
    # Buckets from 0.50 to 0.80: [0.5, 0.6), [0.6, 0.7), [0.7, 0.8].
    found = sparse((0.9, 0.50), (0.8, 0.55), (0.7, 0.62), (0.6, 0.69), (0.3, 0.75), (0.4, 0.80))
    assert promoted(found, 3, "sparsity") == [0, 2, 5]
    assert promoted(found, 1, "sparsity") == [0]


def test_the_place_of_an_empty_bucket_goes_to_the_next_best() -> None:
    # Of three buckets the middle one is empty.
    found = sparse((0.9, 0.50), (0.8, 0.55), (0.3, 0.75), (0.4, 0.80))
    assert promoted(found, 3, "sparsity") == [0, 3, 1]
    assert promoted(found, 9, "sparsity") == [0, 1, 3, 2]


def test_trials_of_one_sparsity_are_one_bucket() -> None:
    assert promoted(sparse((0.1, 0.9), (0.3, 0.9), (0.2, 0.9)), 2, "sparsity") == [1, 2]


def test_within_a_bucket_the_turn_decides_since_the_scores_of_sources_are_not_on_one_scale() -> None:
    found = [
        trial(0, 0.9, source="real", sparsity=0.9),
        trial(1, 0.8, source="real", sparsity=0.5),
        trial(2, 0.2, source="distilled", sparsity=0.5),
    ]
    assert promoted(found, 2, "sparsity") == [0, 2]


def mixed() -> list[FrozenTrial]:
    """Return 3 finished trials, 4 stopped for others, and 6 that nobody may draw."""
    stopped = [trial(number, 0.1, state=TrialState.PRUNED, reason=STOPPED) for number in range(3, 7)]
    apart = [
        trial(7, 0.1, state=TrialState.PRUNED, reason="collapsed: all weights of a layer were removed"),
        trial(8, None, state=TrialState.PRUNED, reason="rejected before training: too many parameters"),
        trial(9, 0.1, state=TrialState.FAIL, reason="diverged"),
        trial(10, 0.1, state=TrialState.RUNNING),
        trial(11, 0.1, state=TrialState.PRUNED, reason=STOPPED, constraints={"max_flops": 2.0}),
        trial(12, 0.8, constraints={"max_flops": 2.0}),
    ]
    return [*trials(0.5, 0.7, 0.6), *stopped, *apart]


def test_the_audit_is_drawn_from_the_others_that_ranked_behind() -> None:
    chosen = promote(mixed(), PromoteSection(top=1, audit=99), SCORE, 0)
    assert chosen.promoted == (1,)
    assert sorted(chosen.audited) == [0, 2, 3, 4, 5, 6]
    assert chosen.population == 6
    assert promote(mixed(), PromoteSection(top=1, audit=0), SCORE, 0) == Promotion((1,), (), 6)


def test_the_audit_is_the_same_for_the_same_seed_and_study() -> None:
    settings = PromoteSection(top=1, audit=3)
    first = promote(mixed(), settings, SCORE, 5)
    assert promote(list(reversed(mixed())), settings, SCORE, 5) == first
    assert len({promote(mixed(), settings, SCORE, seed).audited for seed in range(20)}) > 10


def test_every_other_is_as_likely_to_be_audited() -> None:
    settings = PromoteSection(top=1, audit=2)
    drawn = Counter(number for seed in range(3000) for number in promote(mixed(), settings, SCORE, seed).audited)
    assert set(drawn) == {0, 2, 3, 4, 5, 6}
    # 2 of 6 in 3,000 draws: 1,000 each, with a standard deviation of 26.
    assert np.abs(np.array(list(drawn.values())) - 1000).max() < 130


def test_a_promotion_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "promotion.json"
    assert read_promotion(path) is None
    promotion = Promotion((4, 2, 9), (7, 1), 15)
    write_promotion(path, promotion)
    assert read_promotion(path) == promotion
    assert json.loads(path.read_text()) == {
        "promoted": [4, 2, 9],
        "audited": [7, 1],
        "population": 15,
        "lost": [],
        "earlier": [],
        "further": [],
        "replaced": [],
        "recipe": None,
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b'{"promoted": [1], "audited": [2], "popul',
        b"[1, 2]",
        b'{"promoted": [1], "audited": [2]}',
        b'{"promoted": [1], "audited": ["2"], "population": 3}',
        b'{"promoted": [1.5], "audited": [2], "population": 3}',
        b'{"promoted": [true], "audited": [2], "population": 3}',
        b'{"promoted": [-1], "audited": [2], "population": 3}',
        b'{"promoted": [1, 2], "audited": [2], "population": 3}',
        b'{"promoted": [1], "audited": [2, 3], "population": 1}',
    ],
)
def test_a_damaged_promotion_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "promotion.json"
    path.write_bytes(content)
    assert read_promotion(path) is None


def test_what_an_earlier_promotion_has_audited_is_known_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "promotion.json"
    found, settings = trials(0.0, 0.1, 0.2, 0.3, 0.4), PromoteSection(top=1, audit=1)
    assert promotion_before(path) is None
    write_promotion(path, Promotion(promoted=(3,), audited=(4, 2), population=9, earlier=(1,)))
    set_aside(path)
    assert read_promotion(path) is None
    again = promote(found, settings, SCORE, 0, promotion_before(path))
    assert again.promoted == (4,)
    assert set(again.earlier) == {1, 2} - set(again.audited)


def test_the_place_of_what_came_to_nothing_goes_to_the_next_best() -> None:
    found, settings = trials(0.9, 0.8, 0.7, 0.6, 0.5, 0.4), PromoteSection(top=2, audit=2)
    first = promote(found, settings, SCORE, 0)
    assert first.promoted == (0, 1)
    again = promote(found, settings, SCORE, 0, first, {0})
    assert again.promoted == (1, 2)
    assert (again.replaced, again.population) == ((0,), 3)  # 3, 4 and 5: 0 is known without a draw
    assert 2 not in again.audited
    assert len(again.audited) == 2
    assert again.left == (*again.promoted, *again.audited)
    # Once it is done, nothing changes any more, and a recipe that trains trial 0 puts nobody out.
    assert promote(found, settings, SCORE, 0, again, {0}) == again
    assert promote(found, settings, SCORE, 0, again) == again


def test_a_next_best_that_was_audited_is_promoted_and_another_drawn() -> None:
    found, settings = trials(0.9, 0.8, 0.7, 0.6, 0.5), PromoteSection(top=1, audit=2)
    before = Promotion(promoted=(0,), audited=(1, 3), population=4)
    again = promote(found, settings, SCORE, 0, before, {0})
    assert again.promoted == (1,)
    assert again.audited[0] == 3
    assert set(again.audited) <= {2, 3, 4}
    assert (again.population, again.further, again.earlier) == (3, (), ())


def test_an_audited_one_that_came_to_nothing_stays_drawn_beside_another() -> None:
    found, settings = trials(0.9, 0.8, 0.7, 0.6, 0.5), PromoteSection(top=1, audit=2)
    first = promote(found, settings, SCORE, 0)
    lost = first.audited[0]
    again = promote(found, settings, SCORE, 0, first, {lost})
    assert (again.promoted, again.audited, again.population) == (first.promoted, first.audited, 4)
    assert (again.lost, again.replaced) == ((lost,), ())
    assert len(again.further) == 1
    assert set(again.left) == {0, first.audited[1], again.further[0]}
    # By another recipe it may come to something: then the further one is not needed, and is remembered.
    back = promote(found, settings, SCORE, 0, again)
    assert (back.audited, back.further, back.earlier) == (first.audited, (), again.further)


def test_what_came_to_nothing_is_not_promoted_when_a_run_goes_on() -> None:
    settings = PromoteSection(top=2, audit=1)
    lost_before = Promotion((), (), 0, earlier=(3,), replaced=(0,))
    chosen = promote(trials(0.9, 0.8, 0.7, 0.6, 0.5), settings, SCORE, 0, lost_before, {0, 3})
    assert chosen.promoted == (1, 2)
    assert chosen.population == 2  # 3, which was found out by a draw, and 4
    assert (3 in chosen.lost) == (3 in chosen.audited)


def test_with_everything_lost_there_is_nobody_left() -> None:
    found = trials(0.9, 0.8)
    first = promote(found, PromoteSection(top=1, audit=1), SCORE, 0)
    chosen = promote(found, PromoteSection(top=1, audit=1), SCORE, 0, first, {0, 1})
    assert chosen.left == ()


def test_a_search_without_tickets_says_what_became_of_its_trials() -> None:
    found = [
        trial(0, None, state=TrialState.FAIL, reason="RuntimeError: view size 3 is not compatible"),
        trial(1, None, state=TrialState.FAIL, reason="ValueError: no such layer."),
        trial(2, None, state=TrialState.FAIL, reason="RuntimeError: view size 7 is not compatible"),
        trial(3, 0.1, state=TrialState.PRUNED, reason="collapsed: all weights of a layer were removed"),
        trial(4, 0.1, state=TrialState.PRUNED, reason=STOPPED),
        trial(5, None, state=TrialState.RUNNING),
    ]
    with pytest.raises(NothingToPromote) as refused:
        promote(found, PromoteSection(), SCORE, 0)
    assert str(refused.value) == (
        "No trial reached its sparsity, so there is nothing to retrain: 3 failed, the last with: RuntimeError: view "
        "size 7 is not compatible; 1 collapsed, the last with: collapsed: "
        "all weights of a layer were removed; 1 stopped early as others were better; 1 not finished."
    )


def test_a_candidate_that_several_trials_have_is_promoted_and_audited_once() -> None:
    # Trials 0 and 2 are one candidate, and so are 1 and 4.
    found = [*trials(0.5, 0.7, 0.9, 0.6, 0.8), trial(5, 0.1, state=TrialState.PRUNED, reason=STOPPED)]
    kinds = {0: "a", 1: "b", 2: "a", 3: "c", 4: "b", 5: "c"}
    settings = PromoteSection.model_validate({"top": 2, "audit": 9})
    chosen = promote(found, settings, SCORE, 0, identify=lambda one: kinds[one.number])
    assert chosen == Promotion(promoted=(1, 3), audited=(0,), population=1)


def test_of_equal_trials_the_one_that_reached_its_sparsity_is_taken() -> None:
    found = [trial(0, 0.9, state=TrialState.PRUNED, reason=STOPPED), trial(1, 0.4)]
    settings = PromoteSection.model_validate({"top": 1, "audit": 9})
    chosen = promote(found, settings, SCORE, 0, identify=lambda one: "same")
    assert chosen == Promotion(promoted=(1,), audited=(), population=0)
