from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from dp_core.distillation import KCenter
from dp_core.errors import UserError
from tests.dp_core.small import random_dataset

CLOUDS = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.integers(-9, 9))


def radius(cloud: np.ndarray, centres: list[int] | tuple[int, ...]) -> float:
    """Largest distance of a point to its nearest centre."""
    return max(min(float(np.linalg.norm(point - cloud[c])) for c in centres) for point in cloud)


def test_a_selection_worked_out_by_hand() -> None:
    # The mean is 5 and 4 is nearest to it. Farthest from 4 is 12. The others (0, 1, 11, 2) are then 4, 3, 1, 2 from
    # their centre: 0. Then 1, 11, 2 are 1, 1, 2 from theirs: 2. Then 1 and 11 are 1: the first of them.
    line = torch.tensor([[0.0], [1.0], [4.0], [11.0], [12.0], [2.0]])
    assert float(line.mean()) == 5.0
    assert KCenter.select(line, 5).tolist() == [2, 4, 0, 5, 1]


@given(CLOUDS, st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_the_radius_is_at_most_twice_the_best(cloud: np.ndarray, count: int) -> None:
    count = min(count, len(cloud))
    chosen = KCenter.select(torch.from_numpy(cloud), count).tolist()
    assert len(set(chosen)) == count
    best = min(radius(cloud, centres) for centres in combinations(range(len(cloud)), count))
    assert radius(cloud, chosen) <= 2 * best + 1e-9


@given(CLOUDS)
@settings(max_examples=100, deadline=None)
def test_every_choice_is_the_farthest_and_of_those_the_first(cloud: np.ndarray) -> None:
    chosen = KCenter.select(torch.from_numpy(cloud), len(cloud)).tolist()
    assert sorted(chosen) == list(range(len(cloud)))
    from_mean = np.linalg.norm(cloud - cloud.mean(0), axis=1)
    assert from_mean[chosen[0]] <= from_mean.min() + 1e-9
    for k in range(1, len(cloud)):
        # Squared distances of whole numbers are exact.
        gaps = {
            i: min(((cloud[i] - cloud[c]) ** 2).sum() for c in chosen[:k])
            for i in range(len(cloud))
            if i not in chosen[:k]
        }
        assert chosen[k] == min(i for i in gaps if gaps[i] == max(gaps.values()))


def test_of_duplicates_none_is_chosen_twice() -> None:
    assert KCenter.select(torch.ones(4, 3), 4).tolist() == [0, 1, 2, 3]
    assert KCenter.select(torch.tensor([[0.0], [0.0], [3.0], [3.0]]), 3).tolist() == [0, 2, 1]


def pixel_embedding(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network whose last linear layer sees the pixels themselves."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36, classes))


def test_centres_are_of_each_class_by_itself() -> None:
    source = random_dataset()
    found = KCenter(model={"name": f"{__name__}:pixel_embedding"}, steps=0).distill(source, 2, 0)
    expected = []
    for label in range(3):
        members = [i for i in range(24) if source.labels[i] == label]
        pixels = source.images.numpy()[members].reshape(8, 36) / 255
        first = int(np.linalg.norm(pixels - pixels.mean(0), axis=1).argmin())
        second = int(np.linalg.norm(pixels - pixels[first], axis=1).argmax())
        expected += [members[first], members[second]]
    assert found.provenance["indices"] == expected
    assert torch.equal(found.labels, source.labels[expected])
    assert torch.equal(found.images, found.preprocess(source.images[expected].float() / 255))
    assert found.provenance["cost"]["image_gradients"] == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": -1}, "k_center needs steps of 0 or more, not -1"),
        ({"model": {"name": "convnt"}}, r"no architecture 'convnt'\. Did you mean 'convnet'"),
        ({"model": {"depth": 1}}, "needs a 'name'"),
    ],
)
def test_what_is_impossible_is_found_out_before_any_training(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        KCenter(**changed).check(random_dataset(), 2)
