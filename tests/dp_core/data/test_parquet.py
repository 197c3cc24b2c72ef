from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dp_core.data import ImageDataset, Reading, open_train_test
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import Array, encode, files_in, random_images, write_dataset, write_shard


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
    pq.write_table(pa.table({"img": [{"bytes": None, "path": "1.png"}] * 2, "label": [0, 1]}), shard)
    assert_refused(tmp_path, tmp_path / "cache", f"{shard}, row 0: there are no image bytes (paths to image files")


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
        ("test", -1, ("row 3: label -1 is negative", "-1 often means: no label")),
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
    pq.write_table(pa.table({"img": [content], "label": [[0, 1]]}), shard)
    assert_refused(tmp_path, tmp_path / "cache", str(shard), "'label' holds list", "not whole numbers or strings")
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


def write_columns(root: Path, **columns: Any) -> list[Array]:
    """Write 4 training and 4 test images, both with these columns beside `img`; return the training images."""
    images = random_images(8)
    for split, own in (("train", images[:4]), ("test", images[4:])):
        table = pa.table({"img": [encode(image) for image in own], **columns})
        pq.write_table(table, root / f"{split}.parquet")
    return images[:4]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([0, 1, 1, 0], pa.uint8()),
        pa.array([0, 1, 1, 0], pa.int32()),
        pa.array([0, 1, 1, 0], pa.uint64()),
        pa.array([False, True, True, False]),
        pa.array([0.0, 1.0, 1.0, 0.0], pa.float32()),
        pa.array([0, 1, 1, 0]).dictionary_encode(),
    ],
    ids=lambda labels: str(labels.type),
)
def test_numbers_of_every_type_are_labels(tmp_path: Path, labels: pa.Array) -> None:
    write_columns(tmp_path, label=labels)
    train, _ = opened(tmp_path, tmp_path / "cache")
    assert (train.labels.tolist(), train.class_names) == ([0, 1, 1, 0], ("0", "1"))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_strings_name_classes(tmp_path: Path, kind: pa.DataType) -> None:
    write_columns(tmp_path, label=pa.array(["owl", "ant", "owl", "cat"]).cast(kind))
    train, test = opened(tmp_path, tmp_path / "cache")
    assert (train.labels.tolist(), train.class_names) == ([2, 0, 2, 1], ("ant", "cat", "owl"))
    assert test.labels.tolist() == [2, 0, 2, 1]


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (["cat", "cow", "dog", "dgo"], ("row 3: the label 'dgo' is none of the 3 classes", "Did you mean 'dog'?")),
        ([0, 1, 0, 1], ("the labels are numbers, but in", "they are strings")),
        (["cat", None, "dog", "dog"], ("row 1: the label is null",)),
    ],
)
def test_strings_that_name_no_class(tmp_path: Path, labels: list[Any], parts: tuple[str, ...]) -> None:
    write_columns(tmp_path, label=["cat", "cow", "dog", "dog"])
    shard, contents = tmp_path / "test.parquet", [encode(image) for image in random_images(4)]
    pq.write_table(pa.table({"img": contents, "label": labels}), shard)
    assert_refused(tmp_path, tmp_path / "cache", str(shard), *parts)


@pytest.mark.parametrize("label", [0.5, float("nan"), float("inf")])
def test_a_fraction_is_no_label(tmp_path: Path, label: float) -> None:
    write_columns(tmp_path, label=[0.0, 1.0, label, 1.0])
    assert_refused(tmp_path, tmp_path / "cache", f"row 2: label {label} is no whole number")


def test_columns_can_be_named(tmp_path: Path) -> None:
    """As in CIFAR-100 on the hub, where classes are named for both columns of labels."""
    images = random_images(4)
    names = {"fine": ["ash", "elm", "koi", "ray"], "coarse": ["tree", "fish"]}
    features = {name: {"names": own, "_type": "ClassLabel"} for name, own in names.items()}
    other = [encode(image) for image in random_images(4, seed=1)]
    columns = {
        "picture": [encode(image) for image in images],
        "img": other,
        "fine": [3, 1, 0, 2],
        "coarse": [1, 0, 0, 1],
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table(columns).replace_schema_metadata(metadata)
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    found = {}
    for reading in (
        Reading("picture", "fine"),
        Reading("picture", "coarse"),
        Reading("img", "fine"),
        Reading(None, "fine"),
    ):
        found[reading], _ = open_train_test("parquet", tmp_path, cache=tmp_path / "cache", reading=reading)
    fine, coarse, named, guessed = found.values()
    assert (fine.labels.tolist(), fine.class_names) == ([3, 1, 0, 2], tuple(names["fine"]))
    assert (coarse.labels.tolist(), coarse.class_names) == ([1, 0, 0, 1], tuple(names["coarse"]))
    assert np.array_equal(fine.images.numpy(), np.stack(images).transpose(0, 3, 1, 2))
    assert named.digest == guessed.digest, "the column that is taken anyway may be named"
    assert len({fine.digest, coarse.digest, named.digest}) == 3
    with pytest.raises(
        UserError, match=r"no column 'cuarse'; .* Did you mean 'coarse'\? 'data\.label' names the column"
    ):
        open_train_test("parquet", tmp_path, cache=tmp_path / "cache", reading=Reading("picture", "cuarse"))
    with pytest.raises(UserError, match=r"no column 'pictures'; .* Did you mean 'picture'\? 'data\.image' names the"):
        open_train_test("parquet", tmp_path, cache=tmp_path / "cache", reading=Reading("pictures", "fine"))


def test_images_are_turned_and_laid_on_the_ground(tmp_path: Path) -> None:
    exif, contents = Image.Exif(), []
    exif[0x0112] = 3
    for image in random_images(2, (6, 5)):
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image[::-1, ::-1])).save(buffer, "PNG", exif=exif)
        contents.append(buffer.getvalue())
    buffer = io.BytesIO()
    Image.new("LA", (5, 6), (255, 0)).save(buffer, "PNG")
    write_shard(tmp_path / "train.parquet", [*contents, buffer.getvalue()], [0, 1, 1])
    write_shard(tmp_path / "test.parquet", contents, [0, 1])
    train, _ = open_train_test("parquet", tmp_path, cache=tmp_path / "cache", reading=Reading(ground="black"))
    assert np.array_equal(train.images[:2, 0].numpy(), np.stack(random_images(2, (6, 5))))
    assert not train.images[2].any()


def test_hidden_files_and_folders_are_no_shards(tmp_path: Path) -> None:
    images, _ = write_dataset(tmp_path)
    write_dataset(tmp_path / ".cache")
    (tmp_path / "._train-00000-of-00001.parquet").write_bytes(b"what another system keeps")
    (tmp_path / ".train-copy.parquet").write_bytes(b"half a download")
    assert len(opened(tmp_path, tmp_path / "cache")[0]) == len(images)
    write_dataset(tmp_path / "empty/.cache")
    with pytest.raises(UserError, match=r"holds no train\*\.parquet\.$"):
        opened(tmp_path / "empty", tmp_path / "cache")
