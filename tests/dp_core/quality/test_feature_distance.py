from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import nn

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import ZCA, Standardisation
from dp_core.distillation import DistilledSet, RandomImages
from dp_core.errors import UserError
from dp_core.quality.feature_distance import feature_distance, frechet_distance, in_space_of
from tests.dp_core.small import SHAPE, random_dataset


def cloud(count: int, features: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=draw, dtype=torch.float64)
    return torch.randn(count, features, generator=draw, dtype=torch.float64) @ mixing + seed


@pytest.mark.parametrize("counts", [(50, 60), (3, 40), (4, 3), (2, 2)])
def test_the_frechet_distance_is_that_of_the_formula(counts: tuple[int, int]) -> None:
    one, other = (cloud(count, 5, seed).numpy() for seed, count in enumerate(counts))
    covariances = [np.cov(each, rowvar=False) for each in (one, other)]
    # A little on the diagonal lets scipy take the root of singular products; it moves the trace by about its root.
    root = sqrtm(sum_of := covariances[0] @ covariances[1] + 1e-12 * np.eye(5)).real
    assert root @ root == pytest.approx(sum_of, abs=1e-6)
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(torch.from_numpy(one), torch.from_numpy(other)) == pytest.approx(expected, rel=1e-5)


def test_the_frechet_distance_along_one_line_is_that_of_means_and_deviations() -> None:
    # In one dimension it is (μ₁ − μ₂)² + (σ₁ − σ₂)²: here 3² + (2 − 5)².
    one = torch.tensor([[-2.0], [0.0], [2.0]])
    other = torch.tensor([[-2.0], [3.0], [8.0]])
    assert frechet_distance(one, other) == pytest.approx(9 + 9)
    assert frechet_distance(torch.tensor([[1.0]]), other) == pytest.approx(4 + 25)  # one image has no covariance


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=40)
def test_a_distance_is_symmetric_and_zero_to_itself(one: int, other: int, seed: int) -> None:
    a, b = cloud(one, 4, seed), cloud(other, 4, seed + 1)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8 * float(a.square().sum()))
    assert frechet_distance(a, b) >= 0


class Pixels(nn.Sequential):
    """Features are the pixels themselves."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(36, 3))


def pixels_by_class(source: ImageDataset, label: int) -> np.ndarray:
    space = RandomImages().distill(source, 1, 0).preprocessing
    images = space(source.images[source.class_indices(label)].float() / 255)
    return images.flatten(1).double().numpy()


def test_distances_of_pixels_are_worked_out_class_by_class() -> None:
    source = random_dataset()
    made = RandomImages().distill(source, 3, seed=1)
    found = feature_distance(made, source, Pixels().eval())
    means, randoms = [], []
    for label in range(3):
        real, own = pixels_by_class(source, label), made.images[made.labels == label].flatten(1).double().numpy()
        means.append(np.square(real.mean(0) - own.mean(0)).mean())
        randoms.append(np.trace(np.cov(real, rowvar=False)) * (1 / 3 - 1 / 8) / 36)
    assert found.mean_distance == pytest.approx(np.mean(means), rel=1e-5)
    assert found.random_mean_distance == pytest.approx(np.mean(randoms), rel=1e-5)


def test_random_images_are_as_far_as_expected() -> None:
    source, network = random_dataset(per_class=10), Pixels().eval()
    found = [feature_distance(RandomImages().distill(source, 2, seed), source, network) for seed in range(60)]
    mean = sum(each.mean_distance for each in found) / len(found)
    assert mean == pytest.approx(found[0].random_mean_distance, rel=0.05)


def test_all_real_images_are_at_no_distance() -> None:
    source = random_dataset()
    found = feature_distance(RandomImages().distill(source, 8, 0), source, Pixels().eval())
    assert found.mean_distance == pytest.approx(0, abs=1e-10)
    assert found.random_mean_distance == 0
    assert found.frechet_distance == pytest.approx(0, abs=1e-6)


def test_soft_labels_count_for_the_most_probable_class() -> None:
    source = random_dataset()
    made = RandomImages().distill(source, 2, 0)
    soft = replace(made, labels=torch.eye(3)[made.labels] * 0.4 + 0.2)
    network = Pixels().eval()
    assert feature_distance(soft, source, network) == feature_distance(made, source, network)
    # Nobody belongs to the last class: it is left out.
    two = replace(soft, labels=torch.eye(3)[made.labels.clamp_max(1)])
    assert feature_distance(two, source, network).mean_distance > 0


def whitened() -> DistilledSet:
    images = torch.rand(80, *SHAPE, generator=torch.Generator().manual_seed(3))
    space = ZCA.fit(images)
    made = RandomImages().distill(random_dataset(), 2, 0)
    return replace(made, preprocessing=space)


def test_real_images_are_brought_to_the_space_of_another_set() -> None:
    source, made = random_dataset(), whitened()
    moved = in_space_of(RandomImages().distill(source, 8, 0), made)
    real = torch.cat([source.images[source.class_indices(label)] for label in range(3)])
    expected = made.preprocess(real.float() / 255)
    gaps = (moved.images.flatten(1)[:, None] - expected.flatten(1)[None]).abs().amax(2)
    assert gaps.amin(1).max() < 1e-4  # the images are the same ones, in the order of the draw
    assert moved.preprocessing is made.preprocessing
    with pytest.raises(UserError, match="Only a standardised set"):
        in_space_of(made, moved)


def test_what_does_not_fit_is_refused() -> None:
    made = RandomImages().distill(random_dataset(), 2, 0)
    with pytest.raises(UserError, match="classes"):
        feature_distance(made, random_dataset(classes=2), Pixels())
    source = random_dataset()
    without = source.select(torch.nonzero(source.labels != 1).flatten())
    with pytest.raises(UserError, match="The class 'class 1' has no real image"):
        feature_distance(made, without, Pixels())
    with pytest.raises(UserError, match="no linear layer"):
        feature_distance(made, source, nn.Conv2d(1, 3, 6))
    assert isinstance(made.preprocessing, Standardisation)
