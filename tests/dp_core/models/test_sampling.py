from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_core.errors import UserError
from dp_core.models import ModelSpec, convnet720, nasbench201_space, resnet_family, stratified


def product_of(*levels: int) -> list[ModelSpec]:
    """Return the networks of hyperparameters a, b, … with so many values each."""
    names = "abcdef"[: len(levels)]
    return [
        ModelSpec("net", dict(zip(names, values, strict=True))) for values in itertools.product(*map(range, levels))
    ]


def values_of(specs: Sequence[ModelSpec]) -> list[tuple[Any, ...]]:
    return [tuple(spec.hyperparameters.values()) for spec in specs]


def edges_of(specs: Sequence[ModelSpec]) -> list[tuple[Any, ...]]:
    """Return the operation names, by their order in the text, of NAS-Bench-201 architectures."""
    texts = [spec.hyperparameters["architecture"] for spec in specs]
    return [tuple(part.split("~")[0] for part in text.replace("+", "").split("|") if part) for text in texts]


def off_by(rows: Sequence[tuple[Any, ...]], space: Sequence[tuple[Any, ...]], ways: int) -> float:
    """Return how far the commonest or rarest combination of `ways` columns is from its share of a full product."""
    worst = 0.0
    for columns in itertools.combinations(range(len(space[0])), ways):
        possible = {tuple(row[c] for c in columns) for row in space}
        counts = Counter(tuple(row[c] for c in columns) for row in rows)
        worst = max(worst, *(abs(counts[one] - len(rows) / len(possible)) for one in possible))
    return worst


@pytest.mark.parametrize("seed", range(40))
def test_sixty_of_the_720_convnets_have_every_value_equally_often_and_every_pair_nearly(seed: int) -> None:
    space = convnet720()
    sample = stratified(space, 60, seed)
    for key, each in {"depth": 15, "width": 15, "norm": 12, "activation": 20, "pooling": 20}.items():
        assert set(Counter(spec.hyperparameters[key] for spec in sample).values()) == {each}
    assert off_by(values_of(sample), values_of(space), 2) <= 2


def test_pairs_are_far_better_balanced_than_in_a_random_sample() -> None:
    space = convnet720()
    rows = values_of(space)
    stratified_ones = [off_by(values_of(stratified(space, 60, seed)), rows, 2) for seed in range(20)]
    random_ones = [off_by(random.Random(seed).sample(rows, 60), rows, 2) for seed in range(20)]
    assert sum(stratified_ones) / 20 < 1.4
    assert sum(random_ones) / 20 > 4


@pytest.mark.parametrize("seed", range(2))
def test_cells_of_nasbench201_are_balanced_by_their_six_operations(seed: int) -> None:
    space = nasbench201_space(width=8)
    sample = stratified(space, 60, seed)
    assert off_by(edges_of(sample), edges_of(space), 1) == 0  # 12 of each operation on each edge
    assert off_by(edges_of(sample), edges_of(space), 2) <= 2  # 60 / 25 = 2.4 of each pair


@pytest.mark.parametrize(("levels", "count"), [((2, 2, 2, 2), 8), ((3, 3, 3), 9), ((3, 4), 12)])
def test_orthogonal_arrays_are_found(levels: tuple[int, ...], count: int) -> None:
    # The half fraction of four factors, a Latin square, and a full product: every pair equally often.
    space = product_of(*levels)
    for seed in range(10):
        assert off_by(values_of(stratified(space, count, seed)), values_of(space), 2) == 0


@given(
    levels=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**63),
)
@settings(max_examples=60, deadline=None)
def test_a_sample_of_a_product_has_every_value_as_often_as_any_other_give_or_take_one(
    levels: list[int], share: float, seed: int
) -> None:
    space = product_of(*levels)
    count = round(share * len(space))
    before = torch.get_rng_state()
    sample = stratified(space, count, seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert sample == stratified(space, count, seed)
    places = [space.index(spec) for spec in sample]
    assert places == sorted(set(places))  # in the order of the space, none twice
    assert len(sample) == count
    assert off_by(values_of(sample), values_of(space), 1) < 1


@given(kept=st.sets(st.integers(0, 719), min_size=1, max_size=80), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_what_is_left_of_a_space_is_sampled_too(kept: set[int], share: float) -> None:
    space = [spec for index, spec in enumerate(convnet720()) if index in kept]
    sample = stratified(space, round(share * len(space)), seed=1)
    assert len(sample) == round(share * len(space))
    assert [spec for spec in space if spec in sample] == sample


def test_another_seed_draws_another_sample() -> None:
    space = convnet720()
    assert len({str(stratified(space, 20, seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("count", "shares"),
    [(4, {(2, 2)}), (5, {(3, 2), (2, 3)}), (8, {(4, 4)}), (9, {(5, 4)}), (10, {(6, 4)}), (1, {(1, 0), (0, 1)})],
)
def test_families_have_equal_shares_as_far_as_they_go(count: int, shares: set[tuple[int, int]]) -> None:
    found = set()
    for seed in range(12):
        names = Counter(spec.name for spec in stratified(resnet_family(), count, seed))
        found.add((names["resnet20"], names["resnet18"]))
    assert found == shares


def test_families_with_other_hyperparameters_or_none_stand_beside_each_other() -> None:
    space = [*product_of(2, 2), ModelSpec("plain"), *(ModelSpec("other", {"z": [size]}) for size in range(5))]
    names = Counter(spec.name for spec in stratified(space, 7, seed=0))
    assert names == {"net": 3, "plain": 1, "other": 3}
    assert stratified(space, len(space), seed=0) == space
    assert stratified(space, 0, seed=0) == []


def test_more_than_there_are_cannot_be_sampled() -> None:
    with pytest.raises(UserError, match=r"^A sample of 11 architectures cannot be taken from 10\.$"):
        stratified(resnet_family(), 11, seed=0)
