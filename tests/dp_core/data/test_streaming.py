from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dp_core.data import ImageDataset, hold_back, open_train_test, split_indices
from dp_core.data.parquet import read_classes
from dp_core.data.streaming import BlockReader, MappedBlocks, ParquetBlocks
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import encode, random_images, write_dataset, write_shard
from tests.dp_core.small import random_dataset


def everything(reader: BlockReader) -> tuple[Tensor, Tensor]:
    """Return all blocks end to end, having looked at what a reader promises of each."""
    blocks = [reader.read(block) for block in range(len(reader.sizes))]
    for size, (images, labels) in zip(reader.sizes, blocks, strict=True):
        assert images.dtype == torch.uint8
        assert images.shape == (size, *reader.image_shape)
        assert labels.dtype == torch.int64
        assert labels.shape == (size,)
        assert size > 0
    return torch.cat([images for images, _ in blocks]), torch.cat([labels for _, labels in blocks])


def holds(reader: BlockReader, images: Tensor, labels: Tensor) -> bool:
    found = everything(reader)
    return torch.equal(found[0], images) and torch.equal(found[1], labels)


@given(st.integers(1, 30))
def test_mapped_blocks_are_the_images_in_order(block_size: int) -> None:
    dataset = random_dataset(8)
    reader = MappedBlocks(dataset, block_size)
    assert holds(reader, dataset.images, dataset.labels)
    assert all(size == block_size for size in reader.sizes[:-1])


def test_a_mapped_file_is_not_copied(tmp_path: Path) -> None:
    write_dataset(tmp_path / "images", train=8)
    train, _ = open_train_test("parquet", tmp_path / "images", cache=tmp_path / "cache")
    images, _ = MappedBlocks(train, 3).read(1)
    assert images.data_ptr() == train.images.data_ptr() + 3 * 3 * 6 * 5  # the fourth image of 3x6x5 bytes


def test_what_cannot_be_streamed_is_refused() -> None:
    with pytest.raises(UserError, match=r"blocks of at least one image, not of 0\.$"):
        MappedBlocks(random_dataset(8), 0)
    with pytest.raises(UserError, match="at least one Parquet shard"):
        ParquetBlocks([])


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Two shards with row groups of 3, 3, 1 and 3, 2 images; their classes are named."""
    contents = [encode(image) for image in random_images(12)]
    labels = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    folder, names = tmp_path / "images", ["cat", "dog", "owl"]
    write_shard(folder / "test.parquet", contents[:1], [0], names=names)
    return [
        write_shard(folder / "train-00000-of-00002.parquet", contents[:7], labels[:7], names=names),
        write_shard(folder / "train-00001-of-00002.parquet", contents[7:], labels[7:], names=names),
    ]


def cached(shards: list[Path]) -> ImageDataset:
    return open_train_test("parquet", shards[0].parent, cache=shards[0].parent.parent / "cache")[0]


def test_row_groups_hold_what_the_cache_holds(shards: list[Path]) -> None:
    reader, train = ParquetBlocks(shards), cached(shards)
    assert reader.sizes == (3, 3, 1, 3, 2)
    assert reader.image_shape == train.image_shape
    assert reader.class_names == train.class_names == ("cat", "dog", "owl")
    assert holds(reader, train.images, train.labels)
    assert torch.equal(reader.read(3)[0], train.images[7:10])


@pytest.mark.parametrize("held_back", [[0], [6], [0, 4, 7, 11], [3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]])
def test_rows_that_are_held_back_are_never_seen(shards: list[Path], held_back: list[int]) -> None:
    train = cached(shards)
    kept = torch.tensor([row for row in range(12) if row not in held_back])
    assert holds(ParquetBlocks(shards, torch.tensor(held_back)), train.images[kept], train.labels[kept])


def test_rows_are_held_back_in_row_groups_of_any_size(tmp_path: Path) -> None:
    contents = [encode(image) for image in random_images(300, (2, 2, 3))]
    shard = write_shard(tmp_path / "train.parquet", contents, [row % 2 for row in range(300)], row_group_size=300)
    whole, _ = everything(ParquetBlocks([shard]))
    kept = torch.tensor([row for row in range(300) if row not in (1, 280)])
    assert holds(ParquetBlocks([shard], torch.tensor([1, 280])), whole[kept], kept % 2)


def test_the_validation_split_can_be_held_back_without_reading_an_image(shards: list[Path]) -> None:
    train, _ = hold_back(cached(shards), 0.25, 5)
    names, labels = read_classes(shards)
    _, held_back = split_indices(torch.from_numpy(np.concatenate(labels)), names, 0.25, 5)
    assert holds(ParquetBlocks(shards, held_back), train.images, train.labels)


@pytest.mark.parametrize("rows", [[3, 1], [1, 1], [-1, 2], [0, 12]])
def test_rows_that_would_hold_back_another_image_are_refused(shards: list[Path], rows: list[int]) -> None:
    with pytest.raises(UserError, match="must ascend from 0 to 11 at most, without repeats"):
        ParquetBlocks(shards, torch.tensor(rows))


def test_rows_to_hold_back_are_numbers_and_leave_something(shards: list[Path]) -> None:
    with pytest.raises(UserError, match=r"must be int64 \[n\], not torch.bool"):
        ParquetBlocks(shards, torch.ones(12, dtype=torch.bool))
    with pytest.raises(UserError, match="leaves no image: all 12 are held back"):
        ParquetBlocks(shards, torch.arange(12))


@pytest.mark.parametrize("colours", [0, 1])
def test_one_colour_image_anywhere_makes_every_block_rgb(tmp_path: Path, colours: int) -> None:
    images = [*random_images(6, (6, 5)), *random_images(colours)]
    shard = write_shard(tmp_path / "train.parquet", [encode(image) for image in images], [0] * len(images))
    reader = ParquetBlocks([shard])
    assert reader.image_shape == ((3, 6, 5) if colours else (1, 6, 5))
    first = torch.from_numpy(images[0])
    assert all(torch.equal(channel, first) for channel in reader.read(0)[0][0])


def test_a_block_with_a_wrong_image_is_refused_when_it_is_read(tmp_path: Path) -> None:
    contents = [encode(image) for image in random_images(9)]
    contents[5] = encode(random_images(1, (9, 7, 3))[0])
    contents[8] = b"\x89PNG\r\n\x1a\n rubbish"
    shard = write_shard(tmp_path / "train.parquet", contents, [0] * 9)
    reader = ParquetBlocks([shard])
    assert len(reader.read(0)[0]) == 3
    with pytest.raises(UserError, match=r"train.parquet, row 5: the image is 7x9 .*train.parquet, row 0 is 5x6"):
        reader.read(1)
    with pytest.raises(UserError, match=r"train.parquet, row 8: the image cannot be decoded"):
        reader.read(2)
    assert len(ParquetBlocks([shard], torch.tensor([5, 8])).read(1)[0]) == 2


def test_a_shard_that_changes_while_it_is_streamed_is_noticed(shards: list[Path]) -> None:
    reader = ParquetBlocks(shards)
    content = encode(random_images(1)[0])
    write_shard(shards[1], [content] * 5, [0] * 5, row_group_size=1)
    for block in (3, 4):
        with pytest.raises(UserError, match=r"train-00001-of-00002.parquet was changed while it was being streamed"):
            reader.read(block)
    shards[0].unlink()
    with pytest.raises(UserError, match=r"train-00000-of-00002.parquet cannot be read"):
        reader.read(0)


def test_labels_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train.parquet", [b"no image"] * 2, [0, 2])
    with pytest.raises(UserError, match=r"row 1: label 2 is out of range"):
        ParquetBlocks([shard])
    empty = write_shard(tmp_path / "empty.parquet", [], [])
    with pytest.raises(UserError, match=r"empty.parquet holds no rows"):
        ParquetBlocks([empty])
