from __future__ import annotations

import pytest
import torch

from dp_core.pruning.examples import no_examples, training_examples
from dp_core.training import BatchOrder, TrainingData
from tests.dp_core.small import random_data, small_model


def numbered(images: int) -> TrainingData:
    """Return images that are filled with their own number, and as labels the same numbers."""
    numbers = torch.arange(images)
    return TrainingData(numbers.float().view(-1, 1, 1, 1).expand(-1, 1, 6, 6), numbers)


def test_examples_are_the_start_of_a_shuffled_pass() -> None:
    images, labels = training_examples(numbered(20), 5, small_model())(8)
    assert images.shape == (8, 1, 6, 6)
    assert torch.equal(images[:, 0, 0, 0].long(), labels)
    assert torch.equal(labels, BatchOrder(20, 8, 5)(0))
    assert len(set(labels.tolist())) == 8  # one pass: no image twice


def test_examples_follow_from_the_seed_and_nothing_else() -> None:
    draws = [training_examples(numbered(200), seed, small_model())(50)[1].tolist() for seed in (5, 5, 6)]
    assert draws[0] == draws[1] != draws[2]
    asked = training_examples(numbered(200), 5, small_model())
    assert asked(50)[1].tolist() == asked(50)[1].tolist() == draws[0]


def test_there_are_never_more_examples_than_images() -> None:
    images, labels = training_examples(numbered(5), 0, small_model())(100)
    assert len(images) == 5
    assert sorted(labels.tolist()) == [0, 1, 2, 3, 4]


def test_examples_are_in_the_networks_space() -> None:
    float_data = random_data()
    pixels = (torch.arange(4 * 36).view(4, 1, 6, 6) % 256).to(torch.uint8)
    data = TrainingData(pixels, torch.arange(4), lambda images: 2 * images)  # type: ignore[arg-type]
    images, _ = training_examples(data, 0, small_model())(4)
    torch.testing.assert_close(images, 2 * pixels.float() / 255)
    assert torch.equal(training_examples(float_data, 0, small_model())(20)[0], float_data.images)


def test_where_there_are_no_examples_asking_for_them_is_an_error() -> None:
    with pytest.raises(ValueError, match="looks at training images"):
        no_examples(10)
