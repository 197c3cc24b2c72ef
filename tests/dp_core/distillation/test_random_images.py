from __future__ import annotations

import pytest
import torch

from dp_core.distillation import DistilledSet, RandomImages
from tests.dp_core.small import random_dataset


def drawn(ipc: int, seed: int = 0) -> DistilledSet:
    return RandomImages().distill(random_dataset(), ipc, seed)


@pytest.mark.parametrize("ipc", [1, 3, 8])
def test_they_are_real_images_of_their_class_none_twice(ipc: int) -> None:
    source, found = random_dataset(), drawn(ipc)
    images, labels = found.training_data()
    # Images and preprocessing in different spaces cost earlier work 10 to 30 points. Here they meet bit for bit.
    candidates = found.preprocess(source.images.float() / 255)
    origins = []
    for image, label in zip(images, labels, strict=True):
        matches = (candidates == image).all(dim=(1, 2, 3)).nonzero().flatten().tolist()
        assert len(matches) == 1
        assert source.labels[matches[0]] == label
        origins += matches
    assert len(set(origins)) == 3 * ipc


def test_every_image_of_a_class_is_drawn_equally_often() -> None:
    source = random_dataset()
    first = drawn(1).preprocess(source.images[source.class_indices(0)].float() / 255)
    counts = torch.zeros(8)
    for seed in range(400):
        counts += (first == drawn(1, seed).images[0]).all(dim=(1, 2, 3))
    # 400 draws among 8 images: 50 ± 6.6 each.
    assert counts.sum() == 400
    assert counts.min() > 25
    assert counts.max() < 75


def test_they_cost_no_gradients() -> None:
    assert drawn(2).provenance["cost"]["image_gradients"] == 0
