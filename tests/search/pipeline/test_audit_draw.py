"""The draw of the audit: uniform, gone on with, and sound where candidates come to nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.pipeline.audit_draw import Draw, draw


def test_every_pair_is_as_likely() -> None:
    pairs = Counter(frozenset(draw(range(4), 2, seed).first) for seed in range(3000))
    # Of the 6 pairs each is drawn 500 times on average, with a standard deviation of √(3000 · 1/6 · 5/6) = 20.
    assert len(pairs) == 6
    assert np.abs(np.array(list(pairs.values())) - 500).max() < 100


@given(st.sets(st.integers(0, 60), min_size=1, max_size=20), st.integers(0, 9), st.integers(0, 99))
def test_a_larger_draw_and_a_smaller_population_keep_what_was_drawn(found: set[int], size: int, seed: int) -> None:
    first = draw(found, size, seed).first
    assert len(first) == min(size, len(found))
    assert draw(found, size + 1, seed).first[: len(first)] == first
    gone = min(found)
    left = draw(found - {gone}, size, seed).first
    assert [number for number in first if number != gone] == list(left[: len(first) - (gone in first)])


def test_what_was_drawn_stays_drawn() -> None:
    assert draw(range(9), 3, seed=0, before=(7, 2)).first[:2] == (7, 2)
    assert 7 not in draw(range(7), 3, seed=0, before=(7, 2)).first  # it has left the population


@given(st.integers(1, 15), st.integers(0, 6), st.sets(st.integers(0, 14)), st.integers(0, 99))
def test_each_that_is_lost_has_another_in_its_place_while_there_are_any(
    members: int, size: int, lost: set[int], seed: int
) -> None:
    found = draw(range(members), size, seed, lost)
    assert found.first == draw(range(members), size, seed).first
    drawn = (*found.first, *found.further)
    assert len(set(drawn)) == len(drawn)
    assert len(set(drawn) - lost) == min(size, len(set(range(members)) - lost))
    assert not found.further or found.further[-1] not in lost or len(drawn) == members
    # Going on from there draws nobody else.
    assert draw(range(members), size, seed, lost, drawn) == found


def test_nobody_is_drawn_further_than_needed() -> None:
    everyone = draw(range(6), 6, seed=1).first
    assert draw(range(6), 2, 1, lost={everyone[0], everyone[2]}) == Draw(everyone[:2], everyone[2:4])


def test_the_share_that_comes_to_nothing_is_told_by_the_first_alone() -> None:
    """By simulation: 4 of 10 come to nothing; among the first 2 it is 40 %, among all that are drawn it is fewer."""
    lost = {0, 1, 2, 3}
    draws = [draw(range(10), 2, seed, lost) for seed in range(4000)]
    first = [len(lost.intersection(found.first)) / 2 for found in draws]
    everyone = [len(lost.intersection(drawn := (*found.first, *found.further))) / len(drawn) for found in draws]
    assert abs(np.mean(first) - 0.4) < 0.02
    assert np.mean(everyone) < 0.34
    # Those that come to something are a uniform sample of the six all the same.
    well = Counter(number for found in draws for number in (*found.first, *found.further) if number not in lost)
    # 2 of 6 in 4,000 draws: 1,333 each, with a standard deviation of 30.
    assert set(well) == {4, 5, 6, 7, 8, 9}
    assert np.abs(np.array(list(well.values())) - 4000 / 3).max() < 130
