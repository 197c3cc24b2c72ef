from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_core.proxies import PROXIES
from search.proxies.headlines import headlines
from search.proxies.standings import by_spearman, combined, distilled, family, standing, trains
from tests.search.proxies.answer_rows import answer, lead, truth

BASE = answer("parameters", "parameters", 0.5)
BEATS, LEVEL, LOSES = lead(0.21, 0.05, 0.39), lead(0.03, -0.1, 0.2), lead(-0.2, -0.41, -0.06)


def told(*rows: dict[str, Any], subsets: list[dict] | None = None, truths: list[dict] | None = None) -> list[str]:
    return headlines(list(rows), subsets or [], truths or [])


def test_kinds_are_told_apart_by_what_they_do() -> None:
    trained = {kind for kind in PROXIES if trains(kind)}
    assert trained == {"distilled_training", "distilled_pruning", "real_training", "random_subset", "training_speed"}
    assert {kind for kind in PROXIES if distilled(kind)} == {"distilled_training", "distilled_pruning"}
    assert combined("rank_average")
    assert not combined("nwot")


@pytest.mark.parametrize(
    ("name", "of"),
    [("a@30", "a"), ("a speed@30", "a speed"), ("pruning area", "pruning area"), ("pruning@0.5", "pruning")],
)
def test_families(name: str, of: str) -> None:
    assert family(name) == of


def test_standings() -> None:
    rows = [answer() | one for one in (BEATS, LEVEL, LOSES, lead(0.1, 0.0, 0.2))]
    assert [standing(row) for row in rows] == ["beats", "level", "loses", "level"]
    assert standing(BASE) == "baseline"
    assert standing(answer()) == standing(answer(baseline=None)) == "unknown"


@given(st.lists(st.one_of(st.none(), st.floats(-1, 1)), min_size=1))
def test_the_order_is_descending_and_what_is_missing_comes_last(values: list[float | None]) -> None:
    ordered = [row["spearman"] for row in by_spearman([answer(spearman=value) for value in values])]
    there = [value for value in values if value is not None]
    assert ordered == sorted(there, reverse=True) + [None] * (len(values) - len(there))


@pytest.mark.parametrize("kind", ["distilled_training", "distilled_pruning"])
def test_a_distilled_score_that_loses_is_told_first_and_once(kind: str) -> None:
    losing = answer("search-set@30", kind, 0.3, seconds=3.0, image_gradients=3000.0) | LOSES
    first, *rest = told(BASE, answer("real@30", "real_training", 0.8) | BEATS, losing)
    assert first == (
        "**search-set@30 LOSES to parameters by 0.20 [0.06, 0.41]**, at the price of 3.0 s and 3 k image-gradients an "
        "architecture."
    )
    assert not any("search-set" in line for line in rest)


def test_a_losing_reading_is_told_even_where_its_family_wins() -> None:
    short = answer("search-set@3", "distilled_training", 0.2) | LOSES
    long = answer("search-set@100", "distilled_training", 0.8) | BEATS
    found = told(BASE, short, long)
    assert found[0].startswith("**search-set@3 LOSES to parameters")
    wins = "search-set@100 beats parameters by 0.21 [0.05, 0.39], the best of the 2 readings of search-set."
    assert wins in found


def test_each_trained_family_and_combination_has_its_sentence() -> None:
    found = told(
        BASE,
        answer("real@30", "real_training", 0.8) | BEATS,
        answer("random@30", "random_subset", 0.5) | LEVEL,
        answer("speed speed@30", "training_speed", 0.1) | LOSES,
        answer("together", "fitted", 0.6) | LEVEL,
    )
    assert found[1:] == [
        "real@30 beats parameters by 0.21 [0.05, 0.39].",
        "random@30 is not distinguishable from parameters (+0.03 [-0.10, 0.20]).",
        "speed speed@30 LOSES to parameters by 0.20 [0.06, 0.41].",
        "together is not distinguishable from parameters (+0.03 [-0.10, 0.20]).",
    ]


def test_scores_of_untrained_networks_share_a_sentence() -> None:
    rows = [
        answer("nwot", "nwot", 0.7) | BEATS,
        answer("zen", "zen", 0.5) | LEVEL,
        answer("snip", "snip", 0.1) | LOSES,
        answer("grasp", "grasp", 0.2) | LOSES,
    ]
    assert told(BASE, *rows)[-1] == (
        "Of 4 scores of untrained networks, against parameters: 1 beats it (nwot); 1 is not distinguishable from it "
        "(zen); 2 lose to it (grasp, snip)."
    )


def test_the_best_with_its_cost_the_truths_and_the_top_set() -> None:
    best = answer("real@30", "real_training", 0.8, seconds=3.25, image_gradients=3000.0)
    subsets = [{**answer("real@30", spearman=0.3), "subset": "top 20"}]
    truths = [truth("a", seconds=60.0), truth("b", seconds=100.0), truth("c", None, seconds=None)]
    assert told(BASE, best, subsets=subsets, truths=truths)[0] == (
        "**real@30 ranks best: Spearman 0.80 [0.70, 0.88]** over 100 architectures, for 3.2 s and 3 k image-gradients "
        "an architecture. The truth took 1 min 20 s and 50 k image-gradients an architecture. Among the true top 20 "
        "its Spearman is 0.30 [0.20, 0.38]."
    )


def test_who_is_first_is_not_settled_where_another_is_in_the_interval() -> None:
    rows = [answer("a", spearman=0.8), answer("b", spearman=0.71), answer("c", spearman=0.69)]
    assert "Another score lies inside that interval, so who comes first is not settled." in told(*rows)[0]
    assert "settled" not in told(rows[0], rows[2])[0]


def test_the_baseline_itself_may_be_best() -> None:
    assert told(BASE, answer("nwot", spearman=0.1) | LOSES)[0].startswith("**parameters, the baseline itself, ranks")


def test_what_cannot_be_said_is_not_said() -> None:
    assert told(answer(spearman=None))[0].startswith("No score has a rank correlation yet")
    [_, missing] = told(answer(baseline=None))
    assert missing == "There is no baseline, so that nothing says whether a score has earned its cost."
    assert not any("None" in line or "nan" in line for line in told(BASE, answer("x", seconds=None)))
