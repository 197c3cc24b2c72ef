from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp_core.data import ImageDataset, channel_statistics
from dp_core.data.dataset import constant_channels


def make(n: int = 6, classes: int = 3, shape: tuple[int, int, int] = (3, 4, 5), seed: int = 0) -> ImageDataset:
    images = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    names = tuple(f"c{i}" for i in range(classes))
    return ImageDataset(torch.from_numpy(images), torch.arange(n) % classes, names, f"digest {seed}")


def test_shape_length_and_classes() -> None:
    dataset = make(n=7, classes=4, shape=(1, 8, 9))
    assert (len(dataset), dataset.classes, dataset.image_shape) == (7, 4, (1, 8, 9))
    assert dataset.class_indices(2).tolist() == [2, 6]
    assert dataset.class_indices(2).dtype == torch.int64
    with pytest.raises(IndexError, match="class 4 is outside 0 to 3"):
        dataset.class_indices(4)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64), "images must be uint8"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "images must be uint8"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int32), "labels must be int64"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 1, dtype=torch.int64), "labels must be int64"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "do not match"),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "do not match"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 2]), "labels span 0 to 2"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([-1, 1]), "labels span -1 to 1"),
    ],
)
def test_wrong_tensors_are_refused(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageDataset(images, labels, ("a", "b"), "digest")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_select_takes_rows_in_order(indices: list[int]) -> None:
    dataset = make(n=10)
    chosen = dataset.select(indices)
    assert np.array_equal(chosen.images.numpy(), dataset.images.numpy()[indices])
    assert chosen.labels.tolist() == [i % 3 for i in indices]
    assert chosen.class_names == dataset.class_names


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_digest_of_a_selection_follows_from_parent_and_indices(first: list[int], second: list[int]) -> None:
    dataset = make(n=10)
    digest = dataset.select(first).digest
    assert digest == make(n=10).select(torch.tensor(first, dtype=torch.int32)).digest
    assert (digest == dataset.select(second).digest) == (first == second)
    assert digest != make(n=10, seed=1).select(first).digest


@pytest.mark.parametrize("indices", [[0, 6], [-1]])
def test_select_refuses_indices_outside(indices: list[int]) -> None:
    with pytest.raises(IndexError, match=f"index {indices[-1]} is outside 0 to 5"):
        make(n=6).select(indices)


def test_select_refuses_a_mask() -> None:
    with pytest.raises(TypeError, match="integers"):
        make(n=3).select(torch.tensor([True, False, True]))


@given(st.integers(1, 12), st.sampled_from([1, 3]), st.integers(0, 99))
def test_channel_statistics_equal_numpys(n: int, channels: int, seed: int) -> None:
    dataset = make(n=n, shape=(channels, 3, 2), seed=seed)
    pixels = dataset.images.numpy().astype(np.float64) / 255
    found = channel_statistics(dataset)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=(0, 2, 3)), rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.std, pixels.std(axis=(0, 2, 3)), rtol=0, atol=1e-14)


def test_channel_statistics_over_several_chunks_and_of_constant_images() -> None:
    dataset = make(n=2500, shape=(3, 2, 2))
    pixels = dataset.images.numpy() / 255
    np.testing.assert_allclose(channel_statistics(dataset).std, pixels.std(axis=(0, 2, 3)), rtol=0, atol=1e-14)
    constant = ImageDataset(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8), torch.tensor([0, 0, 0]), ("a",), "d")
    assert channel_statistics(constant).mean == (51 / 255,)
    assert channel_statistics(constant).std == (0.0,)


def test_the_digest_is_of_images_labels_and_names() -> None:
    images, labels = torch.zeros(4, 1, 2, 3, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    other, turned = images.clone(), images.reshape(4, 1, 3, 2)
    other[3, 0, 1, 2] = 1
    found = {
        ImageDataset(images, labels, ("a", "b")).digest,
        ImageDataset(other, labels, ("a", "b")).digest,
        ImageDataset(other.flip(0), labels, ("a", "b")).digest,
        ImageDataset(turned, labels, ("a", "b")).digest,
        ImageDataset(images, labels.flip(0), ("a", "b")).digest,
        ImageDataset(images, labels, ("a", "c")).digest,
    }
    assert len(found) == 6
    spread = torch.zeros(4, 2, 2, 3, dtype=torch.uint8)[:, :1]  # does not lie one after the other
    assert ImageDataset(spread, labels.clone(), ("a", "b")).digest == ImageDataset(images, labels, ("a", "b")).digest


def test_constant_channels_are_found_with_their_values() -> None:
    images = torch.randint(0, 255, (3000, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 1] = 7
    images[:, 2] = 9
    images[2999, 2, 1, 1] = 10
    assert constant_channels(ImageDataset(images, torch.zeros(3000, dtype=torch.int64), ("a",))) == {1: 7}
