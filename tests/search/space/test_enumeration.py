"""Candidates by number, and the part of a space with one choice settled."""

from __future__ import annotations

import pytest

from dp_core.errors import UserError
from search.space import Space

FINITE = {
    "a": {"choice": ["p", "q", [1, 2]]},
    "b": {"float": [0.1, 0.3], "step": 0.1, "when": {"a": "p"}},
    "c": {"int": [1, 5], "step": 2},
    "fixed": 7,
}


def test_every_candidate_has_one_number() -> None:
    # By hand: p with each b, q and the list without b, each with c of 1, 3 and 5.
    expected = [{"a": "p", "b": b, "c": c} for b in (0.1, 0.2, 0.3) for c in (1, 3, 5)]
    expected += [{"a": a, "c": c} for a in ("q", "[1,2]") for c in (1, 3, 5)]
    space = Space.parse(FINITE)
    assert space.size() == 15
    found = [space.candidate_at(index) for index in range(15)]
    assert {frozenset(one.items()) for one in found} == {frozenset(one.items()) for one in expected}
    assert [space.nest(one)["fixed"] for one in found] == [7] * 15


def test_conditions_on_conditional_choices() -> None:
    space = Space.parse(
        {
            "a": {"choice": [1, 2]},
            "b": {"choice": ["x", "y"], "when": {"a": 2}},
            "c": {"int": [0, 3], "when": {"b": "y"}},
            "d": {"choice": [True, False]},
        }
    )
    # a = 1; a = 2 with b = x; a = 2 with b = y and four of c: six, each with two of d.
    found = {frozenset(space.candidate_at(index).items()) for index in range(12)}
    assert len(found) == space.size() == 12
    assert frozenset({"a": 2, "b": "y", "c": 3, "d": False}.items()) in found


@pytest.mark.parametrize("index", [-1, 15])
def test_a_number_that_no_candidate_has(index: int) -> None:
    with pytest.raises(IndexError):
        Space.parse(FINITE).candidate_at(index)


def test_an_endless_space_has_no_candidate_of_a_number() -> None:
    with pytest.raises(IndexError):
        Space.parse({"x": {"float": [0, 1]}}).candidate_at(0)


def test_a_settled_choice_leaves_what_can_be_active_with_it() -> None:
    space = Space.parse(FINITE)
    assert [parameter.name for parameter in space.fixed("a", "p").parameters] == ["a", "b", "c", "fixed"]
    assert [parameter.name for parameter in space.fixed("a", "q").parameters] == ["a", "c", "fixed"]
    assert (space.fixed("a", "p").size(), space.fixed("a", "q").size()) == (9, 3)


def test_what_hangs_on_something_that_is_never_active_goes_too() -> None:
    space = Space.parse(
        {
            "source": {"choice": ["distilled", "real"]},
            "ipc": {"choice": [1, 10], "when": {"source": "distilled"}},
            "soft": {"choice": [True, False], "when": {"ipc": 10}},
            "width": {"int": [1, 4]},
        }
    )
    assert [parameter.name for parameter in space.fixed("source", "real").ordered] == ["source", "width"]
    assert space.fixed("source", "distilled").size() == 12
    with pytest.raises(UserError, match="soft"):
        space.fixed("source", "real").nest({"width": 2, "soft": True})
