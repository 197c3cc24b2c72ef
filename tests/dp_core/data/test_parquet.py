from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dp_core.data import ImageDataset, open_train_test
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import encode, files_in, random_images, write_dataset, write_shard


def opened(root: Path, cache: Path) -> tuple[ImageDataset, ImageDataset]:
    return open_train_test("parquet", root, cache=cache)


def assert_refused(root: Path, cache: Path, *parts: str) -> None:
    """The error is one line that holds all of `parts`, and leaves no file in the cache."""
    with pytest.raises(UserError) as caught:
        opened(root, cache)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    assert files_in(cache) == []


def test_rows_equal_those_pillow_decodes(tmp_path: Path) -> None:
    """Two train shards of JPEGs, some of them grey, with row groups that do not match the batches that are read."""
    grey, colour = random_images(200, (8, 8)), random_images(500, (8, 8, 3))
    contents = [encode(image, "JPEG") for image in [*colour, *grey]]
    random.Random(0).shuffle(contents)
    labels = [i % 5 for i in range(700)]
    for number, rows in enumerate((slice(0, 300), slice(300, 600))):
        path = tmp_path / f"train-{number:05d}-of-00002.parquet"
        write_shard(path, contents[rows], labels[rows], image_column="image", row_group_size=70)
    write_shard(tmp_path / "valid.parquet", contents[600:], labels[600:], image_column="image", row_group_size=70)
    train, test = opened(tmp_path, tmp_path / "cache")
    assert (len(train), len(test), train.image_shape) == (600, 100, (3, 8, 8))
    assert train.labels.tolist() + test.labels.tolist() == labels
    assert train.class_names == ("0", "1", "2", "3", "4")
    for row in random.Random(1).sample(range(600), 40):
        expected = np.asarray(Image.open(io.BytesIO(contents[row])).convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(train.images[row].numpy(), expected)
    for row in random.Random(2).sample(range(100), 20):
        expected = np.asarray(Image.open(io.BytesIO(contents[600 + row])).convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(test.images[row].numpy(), expected)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("column", ["img", "image"])
def test_both_columns_and_both_layouts(tmp_path: Path, column: str, plain: bool) -> None:
    images = random_images(6)
    contents = [encode(image) for image in images]
    write_shard(tmp_path / "train.parquet", contents[:4], [0, 1, 0, 1], image_column=column, plain=plain)
    write_shard(tmp_path / "test.parquet", contents[4:], [1, 0], image_column=column, plain=plain)
    train, test = opened(tmp_path, tmp_path / "cache")
    assert np.array_equal(train.images.numpy(), np.stack(images[:4]).transpose(0, 3, 1, 2))
    assert np.array_equal(test.images.numpy(), np.stack(images[4:]).transpose(0, 3, 1, 2))


def test_class_names_come_from_the_metadata(tmp_path: Path) -> None:
    contents = [encode(image) for image in random_images(3)]
    names = ["cat", "dog", "owl", "ant"]
    write_shard(tmp_path / "train.parquet", contents, [2, 0, 2], names=names)  # not every class need have an image
    write_shard(tmp_path / "test.parquet", contents[:1], [3])
    train, test = opened(tmp_path, tmp_path / "cache")
    assert train.class_names == test.class_names == ("cat", "dog", "owl", "ant")


def test_equal_contents_have_equal_digests_wherever_they_lie(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a")
    write_dataset(tmp_path / "b")
    write_dataset(tmp_path / "c", train=6)
    digests = [[part.digest for part in opened(tmp_path / name, tmp_path / "cache")] for name in "abc"]
    assert digests[0] == digests[1]
    assert len({*digests[0], *digests[2]}) == 4


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        (("img", "labels"), ("has no column 'label'", "img, labels", "Did you mean 'labels'?")),
        (("images", "label"), ("has no column 'img' or 'image'", "images, label", "Did you mean 'images'?")),
    ],
)
def test_missing_column(tmp_path: Path, columns: tuple[str, str], parts: tuple[str, ...]) -> None:
    write_dataset(tmp_path)
    shard, content = tmp_path / "test-00000-of-00001.parquet", encode(random_images(1)[0])
    write_shard(shard, [content], [0], image_column=columns[0], label_column=columns[1])
    assert_refused(tmp_path, tmp_path / "cache", str(shard), *parts)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def footer_only(content: bytes) -> bytes:
    return content[:4] + b"\xff" * 800 + content[804:]


@pytest.mark.parametrize("spoil", [cut, footer_only, lambda content: b"", lambda content: b"label,img\n" * 9])
def test_truncated_or_foreign_file(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    write_dataset(tmp_path)
    shard = tmp_path / "train-00000-of-00001.parquet"
    shard.write_bytes(spoil(shard.read_bytes()))
    assert_refused(tmp_path, tmp_path / "cache", str(shard))


def spoil_row(root: Path, split: str, row: int, *, content: bytes | None = b"", label: int | None = -9) -> Path:
    """Rewrite a shard of `write_dataset` with one image or label replaced."""
    shard = root / f"{split}-00000-of-00001.parquet"
    table = pq.read_table(shard).to_pylist()
    contents, labels = [r["img"]["bytes"] for r in table], [r["label"] for r in table]
    if content != b"":
        contents[row] = content
    if label != -9:
        labels[row] = label
    return write_shard(shard, contents, labels)


@pytest.mark.parametrize(("split", "row"), [("train", 0), ("train", 7), ("test", 2)])
def test_undecodable_image(tmp_path: Path, split: str, row: int) -> None:
    write_dataset(tmp_path)
    shard = spoil_row(tmp_path, split, row, content=b"\x89PNG\r\n\x1a\n rubbish")
    assert_refused(tmp_path, tmp_path / "cache", f"{shard}, row {row}: the image cannot be decoded")


def test_image_cut_short(tmp_path: Path) -> None:
    images, _ = write_dataset(tmp_path)
    shard = spoil_row(tmp_path, "train", 5, content=cut(encode(images[5])))
    assert_refused(tmp_path, tmp_path / "cache", f"{shard}, row 5: the image cannot be decoded")


def test_row_without_bytes(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    shard = spoil_row(tmp_path, "train", 4, content=None)
    assert_refused(tmp_path, tmp_path / "cache", f"{shard}, row 4: there are no image bytes")


@pytest.mark.parametrize("split", ["train", "test"])
def test_mixed_sizes(tmp_path: Path, split: str) -> None:
    write_dataset(tmp_path)
    shard = spoil_row(tmp_path, split, 3, content=encode(random_images(1, (9, 7, 3))[0]))
    first = tmp_path / "train-00000-of-00001.parquet"
    assert_refused(tmp_path, tmp_path / "cache", f"{shard}, row 3: the image is 7x9", f"{first}, row 0 is 5x6")


@pytest.mark.parametrize(
    ("split", "label", "parts"),
    [
        ("train", None, ("row 5: the label is null",)),
        ("test", -1, ("row 3: label -1 is negative",)),
        ("train", 3, ("row 5: label 3 is out of range", "no image has label 2")),
        ("test", 2, ("row 3: label 2 is out of range", "the train labels are 0 to 1")),
    ],
)
def test_labels_without_class_names(tmp_path: Path, split: str, label: int | None, parts: tuple[str, ...]) -> None:
    write_dataset(tmp_path)
    shard = spoil_row(tmp_path, split, 5 if split == "train" else 3, label=label)
    assert_refused(tmp_path, tmp_path / "cache", str(shard), *parts)


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_beyond_the_class_names(tmp_path: Path, split: str) -> None:
    contents = [encode(image) for image in random_images(4)]
    labels = {"train": [0, 1, 1, 0], "test": [0, 1, 1, 0]}
    labels[split][2] = 2
    for name, own in labels.items():
        write_shard(tmp_path / f"{name}.parquet", contents, own, names=["cat", "dog"])
    shard = tmp_path / f"{split}.parquet"
    assert_refused(tmp_path, tmp_path / "cache", f"{shard}, row 2: label 2 is out of range", "names 2 classes")


def test_shards_that_name_different_classes(tmp_path: Path) -> None:
    contents = [encode(image) for image in random_images(2)]
    write_shard(tmp_path / "train.parquet", contents, [0, 1], names=["cat", "dog"])
    write_shard(tmp_path / "test.parquet", contents, [0, 1], names=["dog", "cat"])
    assert_refused(tmp_path, tmp_path / "cache", str(tmp_path / "test.parquet"), "names other classes")


def test_columns_of_another_type(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    shard = tmp_path / "train-00000-of-00001.parquet"
    content = encode(random_images(1)[0])
    pq.write_table(pa.table({"img": [content], "label": ["cat"]}), shard)
    assert_refused(tmp_path, tmp_path / "cache", str(shard), "column 'label' holds string, not integers")
    pq.write_table(pa.table({"img": [[1], [2]], "label": [0, 1]}), shard)
    assert_refused(tmp_path, tmp_path / "cache", str(shard), "the image column holds list")


def test_split_without_rows(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    shard = write_shard(tmp_path / "test-00000-of-00001.parquet", [], [])
    assert_refused(tmp_path, tmp_path / "cache", str(shard), "holds no rows")


def test_unreadable_metadata(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    shard = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(shard).replace_schema_metadata({"huggingface": "{"}), shard)
    assert_refused(tmp_path, tmp_path / "cache", str(shard), "'huggingface' metadata")
