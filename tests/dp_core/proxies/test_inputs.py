"""What proxies may look at."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Standardisation
from dp_core.proxies import ProxyInputs
from tests.dp_core.proxies.trained import CPU, trained_inputs
from tests.dp_core.small import same, small_spec

# With it a preprocessed pixel is the byte that it was.
BYTES = Standardisation((0.0,), (1 / 255,))


def numbered(sizes: list[int]) -> ProxyInputs:
    """Return training images of one pixel, the image's number; class c has `sizes[c]` of them, in shuffled order."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    images = torch.arange(len(labels)).to(torch.uint8).view(-1, 1, 1, 1)
    train = ImageDataset(images, labels, tuple(f"class {c}" for c in range(len(sizes))), "digest")
    return ProxyInputs(train, train, space=BYTES, device=CPU)


@given(st.lists(st.integers(1, 12), min_size=2, max_size=6), st.integers(1, 80), st.integers(0, 2**31))
def test_a_batch_is_balanced_as_far_as_there_are_images(sizes: list[int], images: int, seed: int) -> None:
    inputs = numbered(sizes)
    pixels, labels = inputs.batch(images, seed)
    numbers = pixels.flatten().round().long()
    assert pixels.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert len(labels) == min(images, sum(sizes)) == len(numbers.unique())
    assert torch.equal(inputs.train.labels[numbers], labels)
    counts = labels.bincount(minlength=len(sizes)).tolist()
    assert all(count >= max(counts) - 1 or count == size for count, size in zip(counts, sizes, strict=True))


def test_a_class_with_few_images_gives_them_all() -> None:
    _, labels = numbered([2, 40, 40]).batch(30, 0)
    assert labels.bincount().tolist() == [2, 14, 14]


def test_the_seed_draws_the_batch() -> None:
    inputs = numbered([20, 20, 20])
    torch.manual_seed(3)
    first = inputs.batch(16, 0)
    assert same(list(first), list(inputs.batch(16, 0)))
    assert not same(list(first), list(inputs.batch(16, 1)))
    # No class is preferred in who gets the odd image.
    extra = [inputs.batch(4, seed)[1].bincount().argmax().item() for seed in range(30)]
    assert {*extra} == {0, 1, 2}


def test_networks_of_one_seed_are_the_same() -> None:
    inputs = trained_inputs()
    first, again, other = (inputs.network(small_spec(), seed).state_dict() for seed in (0, 0, 1))
    assert same(dict(first), dict(again))
    assert not same(dict(first), dict(other))


def test_real_images_are_standardised_by_the_training_images() -> None:
    inputs = trained_inputs()
    pixels = inputs.train.images.double() / 255
    assert isinstance(inputs.preprocessing, Standardisation)
    assert inputs.preprocessing.mean == pytest.approx((pixels.mean().item(),), rel=1e-5)
    assert inputs.preprocessing.std == pytest.approx((pixels.std(correction=0).item(),), rel=1e-3)
    assert inputs.held_back(BYTES).preprocessing == BYTES
