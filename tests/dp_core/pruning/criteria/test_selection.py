from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from dp_core.pruning import Mask, keep_highest
from dp_core.pruning.criteria import apportion

layers = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=6)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.floats(0, 0.99))
def test_among_equal_scores_the_first_weights_of_the_model_go_first(scores: list[int], sparsity: float) -> None:
    split = len(scores) // 2
    parts = {"a": torch.tensor(scores[:split]), "b": torch.tensor(scores[split:])}
    count = round(sparsity * len(scores))
    assume(count < len(scores))
    mask = keep_highest(parts, Mask({k: torch.ones(len(v), dtype=torch.bool) for k, v in parts.items()}), sparsity)
    removed = sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count]
    assert torch.cat([mask["a"], mask["b"]]).tolist() == [i not in removed for i in range(len(scores))]


def test_a_removed_weight_never_comes_back_whatever_the_scores_of_those_left() -> None:
    mask = Mask({"w": torch.tensor([True, False, True, True])})
    kept = keep_highest({"w": torch.tensor([-torch.inf, 5.0, -torch.inf, 1.0])}, mask, 0.5)
    assert kept["w"].tolist() == [False, False, True, True]


def test_scores_in_double_precision_are_told_apart() -> None:
    scores = torch.tensor([1.0 + 1e-12, 1.0, 1.0 + 2e-12], dtype=torch.float64)
    kept = keep_highest({"w": scores}, Mask({"w": torch.ones(3, dtype=torch.bool)}), 1 / 3)
    assert kept["w"].tolist() == [True, False, True]


@pytest.mark.parametrize("kept", range(1, 6))
def test_infinities_and_nan_have_a_place_in_the_order(kept: int) -> None:
    scores = torch.tensor([torch.nan, torch.inf, 0.0, -torch.inf, 1.0])
    mask = keep_highest({"w": scores}, Mask({"w": torch.ones(5, dtype=torch.bool)}), 1 - kept / 5)
    # -inf, 0, 1, then NaN and infinity as equals, of which the first goes first.
    assert sorted(mask["w"].nonzero().view(-1).tolist()) == sorted([3, 2, 4, 0, 1][5 - kept :])


@pytest.mark.parametrize(
    ("total", "shares", "limits", "expected"),
    [
        (100, [60, 30, 10], [60, 30, 10], [60, 30, 10]),
        (50, [60, 30, 10], [60, 30, 10], [30, 15, 5]),
        (7, [50, 30, 20], [50, 30, 20], [4, 2, 1]),  # quotas 3.5, 2.1, 1.4: the remainder goes to the first
        (2, [1, 1, 1], [1, 1, 1], [0, 1, 1]),  # equal remainders: the first goes without
        (60, [1, 1, 1], [5, 100, 100], [5, 27, 28]),  # 20 each, but 5 is the limit; then 27.5 each
        (60, [1, 1, 2], [5, 20, 100], [5, 18, 37]),  # quotas 15, 15, 30; then 18⅓ and 36⅔ of 55
        (90, [10, 10, 1], [10, 79, 50], [10, 73, 7]),  # over in turn: 80 left at 10 : 1
        (3, [1000, 10, 1], [1000, 10, 1], [1, 1, 1]),  # else the last two would be empty
        (2, [1000, 10, 1], [1000, 10, 1], [1, 0, 1]),  # not enough for all: the first in the model stays the richest
        (2, [1000, 10, 1], [1000, 10, 0], [1, 1, 0]),  # one that is empty stays so
        (0, [3, 4], [3, 4], [0, 0]),
    ],
)
def test_apportionments_worked_out_by_hand(
    total: int, shares: list[int], limits: list[int], expected: list[int]
) -> None:
    assert apportion(total, shares, limits) == expected


@given(layers, st.floats(0, 1))
def test_apportioning_is_exact_within_limits_and_leaves_nobody_empty(found: list[tuple[int, int]], part: float) -> None:
    shares, limits = [share for share, _ in found], [limit for _, limit in found]
    total = round(part * sum(limits))
    counts = apportion(total, shares, limits)
    assert sum(counts) == total
    assert all(0 <= count <= limit for count, limit in zip(counts, limits, strict=True))
    if total >= sum(limit > 0 for limit in limits):
        assert all(count > 0 for count, limit in zip(counts, limits, strict=True) if limit > 0)


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=6), st.floats(0, 1))
def test_with_room_everybody_gets_its_quota_to_within_one(shares: list[int], part: float) -> None:
    total = round(part * sum(shares))
    quotas = [total * share / sum(shares) for share in shares]
    assume(min(quotas) >= 1)  # below that nobody is left empty instead
    counts = apportion(total, shares, shares)
    assert all(abs(count - quota) < 1 for count, quota in zip(counts, quotas, strict=True))
