from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp_core.data import ImageDataset, hold_back
from dp_core.errors import UserError


def numbered(labels: list[int], classes: int) -> ImageDataset:
    """Return images whose pixels spell their index, so that a split can be read off them."""
    rows = torch.arange(len(labels))
    images = torch.stack([rows // 256, rows % 256], dim=1).to(torch.uint8).view(-1, 1, 1, 2)
    return ImageDataset(images, torch.tensor(labels), tuple(f"class {c}" for c in range(classes)), "parent")


def rows(dataset: ImageDataset) -> list[int]:
    return [int(high) * 256 + int(low) for high, low in dataset.images.flatten(1)]


@st.composite
def splittable(draw: st.DrawFn) -> tuple[list[int], int, float]:
    classes = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(5, 40), min_size=classes, max_size=classes))
    labels = draw(st.permutations([c for c, size in enumerate(sizes) for _ in range(size)]))
    return list(labels), classes, draw(st.floats(0.1, 0.89))  # at 0.9 five are rounded to all of them


@given(splittable(), st.integers(-(2**70), 2**70))
def test_split_laws(case: tuple[list[int], int, float], seed: int) -> None:
    labels, classes, fraction = case
    dataset = numbered(labels, classes)
    train, validation = hold_back(dataset, fraction, seed)
    assert sorted(rows(train) + rows(validation)) == list(range(len(labels)))  # disjoint and complete
    assert rows(train) == sorted(rows(train))
    assert rows(validation) == sorted(rows(validation))
    for part in (train, validation):
        assert part.labels.tolist() == [labels[row] for row in rows(part)]
    for c in range(classes):
        assert len(validation.class_indices(c)) == math.floor(fraction * labels.count(c) + 0.5)
    assert len({dataset.digest, train.digest, validation.digest}) == 3


def test_split_depends_on_the_seed_alone() -> None:
    dataset = numbered([0, 1] * 50, 2)
    torch.manual_seed(1)
    first = hold_back(dataset, 0.2, 7)
    torch.manual_seed(2)
    again = hold_back(numbered([0, 1] * 50, 2), 0.2, 7)
    other = hold_back(dataset, 0.2, 8)
    assert [part.digest for part in first] == [part.digest for part in again]
    assert rows(first[1]) == rows(again[1])
    assert rows(first[1]) != rows(other[1])


def test_the_split_of_a_seed_never_changes() -> None:
    """Old runs name their split by seed: if this fails, their proxies can no longer be compared with new ones."""
    _, validation = hold_back(numbered([0, 1] * 10, 2), 0.3, 0)
    assert rows(validation) == [0, 5, 6, 9, 10, 17]


@pytest.mark.parametrize(
    ("labels", "fraction", "message"),
    [
        ([0] * 10 + [1], 0.1, "leaves class 'class 1', which has 1, without a validation image"),
        ([0] * 10 + [1], 0.6, "leaves class 'class 1', which has 1, without a train image"),
        ([0] * 10, 0.5, "leaves class 'class 1', which has 0, without a validation image"),
        ([0, 1] * 4, 0.1, "leaves class 'class 0', which has 4, without a validation image"),
        ([0, 1] * 4, 0.9, "leaves class 'class 0', which has 4, without a train image"),
        ([0, 1] * 4, 0.0, "must lie between 0 and 1"),
        ([0, 1] * 4, 1.0, "must lie between 0 and 1"),
        ([0, 1] * 4, float("nan"), "must lie between 0 and 1"),
    ],
)
def test_fractions_that_leave_a_class_empty_are_refused(labels: list[int], fraction: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hold_back(numbered(labels, 2), fraction, 0)
