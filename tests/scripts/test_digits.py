"""The digits are small data of one channel that go through the whole of Winnow."""

from __future__ import annotations

from pathlib import Path

import torch

from dp_core.data import open_train_test
from dp_core.distillation import FeatureRegression

DIGITS = "scripts.digits:load"


def test_every_fifth_digit_is_for_testing(tmp_path: Path) -> None:
    train, test = open_train_test(DIGITS, None, cache=tmp_path)
    assert (len(train), len(test)) == (1437, 360)
    assert train.image_shape == test.image_shape == (1, 8, 8)
    assert train.class_names == tuple("0123456789")
    assert (int(train.images.min()), int(train.images.max())) == (0, 255)
    assert min(torch.bincount(train.labels).tolist()) > 130


def test_a_set_of_one_channel_can_be_made_of_them_by_the_default_networks(tmp_path: Path) -> None:
    train, _ = open_train_test(DIGITS, None, cache=tmp_path)
    made = FeatureRegression(iterations=2).distill(train, 1, seed=0)
    assert made.images.shape == (10, 1, 8, 8)
