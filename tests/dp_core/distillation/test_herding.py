from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from dp_core.distillation import DistilledSet, Herding
from dp_core.errors import UserError
from tests.dp_core.small import random_dataset

# Whole numbers, with many ties among them; sums and means of so few are exact in float64 up to the division.
CLOUDS = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.integers(-4, 4))


def test_a_selection_worked_out_by_hand() -> None:
    # The mean is (2, 0) and d is 0.5 from it. With d, the mean of two is 1.25 (a), 0.75 (c) or 1 (f) from it, with b
    # and e more. With d and c, that of three is 1/6 (a), 4/3 (f) or about 1 (b, e) from it.
    a, b, c, d, e, f = [0.0, 0.0], [1.0, 3.0], [4.0, 0.0], [1.5, 0.0], [1.0, -3.0], [4.5, 0.0]
    cloud = torch.tensor([a, b, c, d, e, f])
    assert cloud.mean(0).tolist() == [2.0, 0.0]
    assert Herding.select(cloud, 3).tolist() == [3, 2, 0]


@given(CLOUDS)
@settings(max_examples=200, deadline=None)
def test_every_choice_is_the_best_there_is(cloud: np.ndarray) -> None:
    chosen = Herding.select(torch.from_numpy(cloud), len(cloud)).tolist()
    assert sorted(chosen) == list(range(len(cloud)))
    for k in range(1, len(cloud) + 1):
        before, after = chosen[: k - 1], [i for i in range(len(cloud)) if i not in chosen[: k - 1]]
        gaps = {i: np.linalg.norm(cloud[[*before, i]].mean(0) - cloud.mean(0)) for i in after}
        assert gaps[chosen[k - 1]] <= min(gaps.values()) + 1e-9


@given(CLOUDS, st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_a_shorter_selection_is_the_beginning_of_a_longer_one(cloud: np.ndarray, count: int) -> None:
    embeddings = torch.from_numpy(cloud)
    count = min(count, len(cloud))
    assert Herding.select(embeddings, count).tolist() == Herding.select(embeddings, len(cloud)).tolist()[:count]


def test_of_equals_the_first_is_chosen() -> None:
    assert Herding.select(torch.ones(4, 2), 4).tolist() == [0, 1, 2, 3]
    assert Herding.select(torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), 4).tolist() == [0, 1, 2, 3]


def pixel_embedding(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network whose last linear layer sees the pixels themselves."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36, classes))


def no_linear_layer(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, classes, 6), nn.Flatten())


class Spare(nn.Sequential):
    def forward(self, images: Tensor) -> Tensor:
        return self[1](self[0](images))


def unreached_linear_layer(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Spare(nn.Conv2d(1, classes, 6), nn.Flatten(), nn.Linear(2, 2))


def made(ipc: int, seed: int = 0, **changed: Any) -> DistilledSet:
    return Herding(**changed).distill(random_dataset(), ipc, seed)


def test_images_are_chosen_in_the_space_of_the_embedding() -> None:
    # Standardisation is the same affine map for all pixels of the one channel, which changes no choice.
    source = random_dataset()
    found = made(3, model={"name": f"{__name__}:pixel_embedding"}, steps=0)
    expected = []
    for label in range(3):
        members = [i for i in range(24) if source.labels[i] == label]
        pixels = source.images.numpy()[members].reshape(8, 36) / 255
        chosen: list[int] = []
        for _ in range(3):
            left = [i for i in range(8) if i not in chosen]
            gaps = [np.linalg.norm(pixels[[*chosen, i]].mean(0) - pixels.mean(0)) for i in left]
            chosen.append(left[int(np.argmin(gaps))])
        expected += [members[i] for i in chosen]
    assert found.provenance["indices"] == expected
    assert torch.equal(found.labels, source.labels[expected])
    assert torch.equal(found.images, found.preprocess(source.images[expected].float() / 255))


def test_the_network_is_trained_and_its_training_is_the_cost() -> None:
    model = {"name": "convnet", "depth": 1, "width": 4}
    trained, untrained = made(2, model=model, steps=7), made(2, model=model, steps=0)
    assert trained.provenance["cost"]["image_gradients"] == 7 * 24  # a full batch each
    assert untrained.provenance["cost"]["image_gradients"] == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": -1}, "herding needs steps of 0 or more, not -1"),
        ({"model": {"name": "convnt"}}, r"no architecture 'convnt'\. Did you mean 'convnet'"),
        ({"model": {"name": f"{__name__}:no_linear_layer"}}, "no linear layer whose input could serve as embedding"),
        ({"model": {"name": f"{__name__}:unreached_linear_layer"}}, "no linear layer whose input could serve"),
        ({"model": {"name": "convnet", "depth": 3}}, "halves the image 3 times"),
    ],
)
def test_what_is_impossible_is_found_out_before_any_training(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Herding(**changed).check(random_dataset(), 2)


def overflowing(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    class Infinite(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) * 3e38 * 10

    return nn.Sequential(Infinite(), nn.Linear(36, classes))


def test_embeddings_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="embeds some images in values that are not finite"):
        made(1, model={"name": f"{__name__}:overflowing"}, steps=0)
