from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dp_core.data import open_train_test
from dp_core.errors import UserError
from dp_core.files import digest_of_file
from scripts.make_cifar10_mini import main, make, pixel_digest, smallest
from tests.dp_core.data.shard_files import Array, encode, files_in, random_images, write_shard

ASSET = Path(__file__).parents[3] / "assets" / "cifar10-mini"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def images_of(shard: Path) -> list[Array]:
    encoded = [row["bytes"] for row in pq.read_table(shard)["img"].to_pylist()]
    return [np.asarray(Image.open(io.BytesIO(content))) for content in encoded]


def test_asset_is_balanced_and_its_splits_are_disjoint(tmp_path: Path) -> None:
    train, test = open_train_test("parquet", ASSET, cache=tmp_path)
    assert train.class_names == test.class_names == NAMES
    assert train.image_shape == (3, 32, 32)
    assert train.labels.bincount().tolist() == [500] * 10
    assert test.labels.bincount().tolist() == [100] * 10
    pixels = [{image.numpy().tobytes() for image in part.images} for part in (train, test)]
    assert (len(pixels[0]), len(pixels[1]), len(pixels[0] & pixels[1])) == (5000, 1000, 0)


def test_asset_is_small_and_as_its_card_says() -> None:
    shards = sorted(ASSET.glob("*.parquet"))
    listed = re.findall(r"\| (\S+\.parquet) \| \d+ \| (\d+) \| `([0-9a-f]{64})` \|", (ASSET / "README.md").read_text())
    assert sorted(listed) == sorted((p.name, str(p.stat().st_size), digest_of_file(p)) for p in shards)
    assert sum(path.stat().st_size for path in shards) <= 14_000_000


@pytest.fixture
def source(tmp_path: Path) -> dict[str, list[Array]]:
    """Write two train shards and a test shard of 10 classes in which one image occurs in train and in test."""
    images = {"train": random_images(40, (32, 32, 3)), "test": random_images(20, (32, 32, 3), seed=1)}
    images["train"][3] = images["test"][3]
    contents = {split: [encode(image) for image in own] for split, own in images.items()}
    labels = [i % 10 for i in range(20)]
    write_shard(tmp_path / "source/train-00000-of-00002.parquet", contents["train"][:20], labels)
    write_shard(tmp_path / "source/train-00001-of-00002.parquet", contents["train"][20:], labels)
    write_shard(tmp_path / "source/test-00000-of-00001.parquet", contents["test"], labels)
    return images


def test_pixels_and_labels_are_those_of_the_source(tmp_path: Path, source: dict[str, list[Array]]) -> None:
    make(tmp_path / "source", tmp_path / "mini", train=3, test=2, seed=0)
    for split, each in (("train", 3), ("test", 2)):
        shard = tmp_path / f"mini/{split}-00000-of-00001.parquet"
        rows = [int(Path(row["path"]).stem) for row in pq.read_table(shard)["img"].to_pylist()]
        assert rows == sorted(set(rows))
        assert all(np.array_equal(a, source[split][row]) for a, row in zip(images_of(shard), rows, strict=True))
        labels = pq.read_table(shard)["label"].to_pylist()
        assert labels == [row % 10 for row in rows]
        assert np.bincount(labels).tolist() == [each] * 10
        if split == "train":
            assert 3 not in rows  # all 20 test images were taken, so the copy of one in train was passed over


def test_making_it_again_gives_the_same_bytes(tmp_path: Path, source: dict[str, list[Array]]) -> None:
    assert len(source) == 2
    for target, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = ["--source", str(tmp_path / "source"), "--target", str(tmp_path / target), "--seed", str(seed)]
        assert main([*options, "--train", "2", "--test", "1"]) == 0
    for name in files_in(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()


def test_a_source_that_is_too_small_is_refused(tmp_path: Path, source: dict[str, list[Array]]) -> None:
    assert len(source) == 2
    with pytest.raises(UserError, match="has only 3 different train images of class 3, not 4"):
        make(tmp_path / "source", tmp_path / "mini", train=4, test=2, seed=0)
    assert files_in(tmp_path / "mini") == []


def test_a_larger_encoding_is_replaced_by_one_of_the_same_pixels() -> None:
    image = Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8) + np.arange(32, dtype=np.uint8)[:, None, None])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=0)
    small = smallest(buffer.getvalue())
    assert len(small) < len(buffer.getvalue())
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(small))), np.asarray(image))
    assert pixel_digest(small) == pixel_digest(buffer.getvalue())
    assert smallest(small) == small
