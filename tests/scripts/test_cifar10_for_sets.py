"""The shipped sets are made from images that no search scores or tests by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dp_core.data import hold_back, open_train_test
from dp_core.data.identity import image_digests
from scripts import cifar10_for_sets
from tests.dp_core.data.shard_files import encode, write_shard

NAMES = ("cat", "dog")


def images(count: int, seed: int) -> list[bytes]:
    draw = np.random.default_rng(seed)
    return [encode(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(count)]


def write(folder: Path, train: list[bytes], test: list[bytes], names: tuple[str, ...] | None) -> Path:
    for split, pictures in (("train", train), ("test", test)):
        labels = [index % 2 for index in range(len(pictures))]
        write_shard(folder / f"{split}-00000-of-00001.parquet", pictures, labels, names=names)
    return folder


def test_neither_held_back_images_nor_those_of_the_mini_set_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = images(40, seed=0)
    root = write(tmp_path / "whole", whole, images(4, seed=1), names=None)
    # Its training images are some of the whole, and one of the whole stands among its test images.
    mini = write(tmp_path / "mini", whole[:10], [*whole[20:21], *images(3, seed=2)], names=NAMES)
    monkeypatch.setattr(cifar10_for_sets, "MINI", mini)
    train, test = cifar10_for_sets.load(root, tmp_path / "cache")
    opened = open_train_test("parquet", root, cache=tmp_path / "cache")
    held_back = hold_back(opened[0], 0.1, seed=0)[1]
    barred = [*image_digests(opened[0].images[:10]), image_digests(opened[0].images)[20]]
    left = image_digests(train.images)
    assert not {*left} & {*barred, *image_digests(held_back.images)}
    assert {*left} == {*image_digests(opened[0].images)} - {*barred} - {*image_digests(held_back.images)}
    assert (len(held_back), train.class_names, test.class_names, len(test)) == (4, NAMES, NAMES, 4)
