from __future__ import annotations

import warnings

import numpy as np
import torch

from tests.trainables.driving import dataset
from trainables import SharedDataset


def test_a_data_set_comes_back_as_it_was() -> None:
    original = dataset(3, 1)
    opened = SharedDataset.of(original).open()
    assert torch.equal(opened.images, original.images)
    assert torch.equal(opened.labels, original.labels)
    assert (opened.class_names, opened.digest) == (original.class_names, original.digest)


def test_memory_that_ray_lends_is_used_in_place_and_without_a_warning() -> None:
    shared = SharedDataset.of(dataset(3, 1))
    images = shared.images.copy()
    images.setflags(write=False)
    lent = SharedDataset(images, shared.labels, shared.class_names, shared.digest)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = lent.open()
    assert np.shares_memory(opened.images.numpy(), images)
