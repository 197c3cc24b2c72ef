from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp_core.data.preprocessing import Standardisation
from dp_core.errors import UserError
from dp_core.training import BatchOrder, TrainingData


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 99))
def test_every_pass_takes_every_image_once_and_every_step_a_full_batch(images: int, batch: int, seed: int) -> None:
    order = BatchOrder(images, batch, seed)
    steps = [order(step).tolist() for step in range(12)]
    assert {len(step) for step in steps} == {min(batch, images)}
    taken = [index for step in steps for index in step]
    for start in range(0, len(taken), images):
        passed = taken[start : start + images]
        assert len(set(passed)) == len(passed)
        assert set(passed) <= set(range(images))


@given(st.integers(1, 30), st.integers(1, 40), st.lists(st.integers(0, 60), max_size=8))
def test_a_batch_is_a_function_of_seed_and_step_alone(images: int, batch: int, steps: list[int]) -> None:
    used = BatchOrder(images, batch, 3)
    for step in steps:
        assert torch.equal(used(step), BatchOrder(images, batch, 3)(step))


def test_passes_and_seeds_differ() -> None:
    order = BatchOrder(40, 20, 0)
    first_pass, second_pass = (torch.cat([order(step), order(step + 1)]).tolist() for step in (0, 2))
    assert first_pass != second_pass
    assert first_pass != list(range(40))
    assert order(0).tolist() != BatchOrder(40, 20, 1)(0).tolist()


def test_a_batch_may_span_two_passes() -> None:
    order = BatchOrder(5, 3, 0)
    spanning = order(1).tolist()  # images 3 and 4 of the first pass, image 0 of the second
    assert sorted(order(0).tolist() + spanning[:2]) == [0, 1, 2, 3, 4]
    assert sorted(spanning[2:] + order(2).tolist() + order(3).tolist()[:1]) == [0, 1, 2, 3, 4]


def test_uint8_images_are_scaled_and_preprocessed_batch_by_batch() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    data = TrainingData(images, torch.tensor([0, 1, 2]), Standardisation((0.2,), (0.4,)))
    pixels, labels = data.batch(torch.tensor([2, 1]))
    # (1 - 0.2) / 0.4 and (0.2 - 0.2) / 0.4
    torch.testing.assert_close(pixels.flatten(), torch.tensor([2.0, 0.0]))
    assert labels.tolist() == [2, 1]
    assert images.flatten().tolist() == [0, 51, 255]
    assert data.batch(slice(0, 2))[0].shape == (2, 1, 1, 1)
    moved = data.to(torch.device("cpu"))
    assert torch.equal(moved.batch(slice(0, 3))[0], data.batch(slice(0, 3))[0])


def test_float_images_are_taken_as_they_are() -> None:
    images = torch.randn(3, 1, 2, 2)
    soft = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    batch, labels = TrainingData(images, soft).batch(torch.tensor([1]))
    assert torch.equal(batch, images[1:2])
    assert torch.equal(labels, soft[1:2])


def test_data_that_do_not_go_together_are_refused() -> None:
    pixels, floats = torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, 1, 2, 2)
    labels, preprocessing = torch.tensor([0, 1]), Standardisation((0.5,), (0.25,))
    with pytest.raises(UserError, match="as many labels as images, not 2 for 1"):
        TrainingData(floats[:1], labels)
    with pytest.raises(UserError, match="as many labels as images, not 0 for 0"):
        TrainingData(floats[:0], labels[:0])
    with pytest.raises(UserError, match="uint8 need a preprocessing"):
        TrainingData(pixels, labels)
    with pytest.raises(UserError, match="images in float must have had theirs"):
        TrainingData(floats, labels, preprocessing)
