from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dp_core.data import FORMATS, ImageDataset, Reading, open_splits, open_train_test
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import write_dataset

PLUGIN = """
from pathlib import Path

import torch

from dp_core.data import ImageDataset


def made(n, side=4, names=("a", "b")):
    return ImageDataset(torch.zeros(n, 1, side, side, dtype=torch.uint8), torch.arange(n) % 2, names, f"made {n}")


def reader(root: Path):
    return made(int(root.name)), made(2)


def raises(root): return {}["no such key"]
def returns_one(root): return made(2)
def other_classes(root): return made(2), made(2, names=("a", "c"))
def other_shape(root): return made(2), made(2, side=5)
def wrong_labels(root): return made(2, names=("a",)), made(2)
constant = 3


def drawn(root=Path("of its own")):
    generator = torch.Generator().manual_seed(len(str(root)))
    images = torch.randint(0, 256, (20, 1, 4, 4), dtype=torch.uint8, generator=generator)
    return ImageDataset(images, torch.arange(20) % 2, ("a", "b"), "always the same"), made(2)


def without(): return made(20), made(2)
def maybe(root: Path | None): return made(20 if root is None else 30), made(2)
def keyword(*, side=4): return made(10, side), made(2, side)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my_images.py"
    path.write_text(PLUGIN)
    (tmp_path / "broken_images.py").write_text("x = 1\ny = 1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_images", raising=False)
    return path


def test_splits_are_train_less_validation_and_test_untouched(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", train=20, test=6)
    train, test = open_train_test("parquet", tmp_path / "data", cache=tmp_path / "cache")
    splits = open_splits("parquet", tmp_path / "data", cache=tmp_path / "cache", validation=0.2, seed=3)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (16, 4, 6)
    assert splits.test.digest == test.digest
    parts = {image.numpy().tobytes() for part in (splits.train, splits.validation) for image in part.images}
    assert parts == {image.numpy().tobytes() for image in train.images}


def test_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'parqet' is unknown; known are .*Did you mean 'parquet'\?"):
        open_train_test("parqet", tmp_path, cache=tmp_path)
    assert set(FORMATS) == {"parquet", "folder", "cifar10", "cifar100"}


@pytest.mark.usefixtures("plugin")
def test_a_function_of_the_users_is_a_format(tmp_path: Path) -> None:
    splits = open_splits("my_images:reader", Path("20"), cache=tmp_path / "cache", validation=0.1, seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (18, 2, 2)
    assert splits.train.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("my_imagse:reader", "No module named 'my_imagse'"),
        ("my_images:raeder", r"my_images has no function 'raeder'\. Did you mean 'reader'\?"),
        ("my_images:constant", "my_images has no function 'constant'"),
        ("my_images:raises", r"failed on 20: KeyError at .*my_images\.py, line 17: 'no such key'"),
        ("my_images:returns_one", "must return two ImageDatasets, not ImageDataset"),
        ("my_images:other_classes", "sets of different classes"),
        ("my_images:other_shape", r"shape \(1, 4, 4\), but test images of shape \(1, 5, 5\)"),
        ("my_images:wrong_labels", "labels span 0 to 1, but there are 1 class names"),
        ("broken_images:reader", r"cannot be imported: ZeroDivisionError at .*broken_images\.py, line 2"),
        ("my_images:", "must be of the form"),
        (":reader", "must be of the form"),
    ],
)
@pytest.mark.usefixtures("plugin")
def test_mistakes_in_a_users_function_are_told(tmp_path: Path, format: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_train_test(format, Path("20"), cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("plugin")
def test_the_digest_is_of_the_contents_whatever_a_function_says(tmp_path: Path) -> None:
    roots = (Path("1"), Path("2"), Path("22"))
    found = [open_train_test("my_images:drawn", root, cache=tmp_path)[0] for root in roots]
    assert [each.digest for each in found[:1]] == [found[1].digest]
    assert found[2].digest != found[0].digest
    plain = ImageDataset(found[2].images, found[2].labels, found[2].class_names)
    assert plain.digest == found[2].digest


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("function", "root", "images"),
    [
        ("without", None, 20),
        ("without", Path("5"), 20),
        ("maybe", None, 20),
        ("maybe", Path("5"), 30),
        ("drawn", None, 20),
        ("keyword", None, 10),
        ("reader", Path("5"), 5),
    ],
)
def test_a_function_is_called_with_the_root_if_it_takes_one(
    tmp_path: Path, function: str, root: Path | None, images: int
) -> None:
    assert len(open_train_test(f"my_images:{function}", root, cache=tmp_path)[0]) == images


@pytest.mark.usefixtures("plugin")
def test_a_root_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'my_images:reader' failed without 'data\.root': AttributeError at"):
        open_train_test("my_images:reader", None, cache=tmp_path)
    with pytest.raises(UserError, match=r"The data format 'parquet' needs 'data\.root'"):
        open_train_test("parquet", None, cache=tmp_path)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("reading", [Reading(image="x"), Reading(label="x"), Reading(ground="white")])
@pytest.mark.parametrize("format", ["my_images:without", "cifar10"])
def test_keys_that_a_format_has_no_use_for(tmp_path: Path, format: str, reading: Reading) -> None:
    with pytest.raises(UserError, match=r"^'data\.\w+' has no use with the data format"):
        open_train_test(format, tmp_path, cache=tmp_path, reading=reading)


@pytest.mark.usefixtures("plugin")
def test_what_a_function_returns_is_told(tmp_path: Path) -> None:
    splits = open_splits("my_images:without", None, cache=tmp_path, validation=0.2, seed=0)
    assert splits.sentences() == (
        "train: 16 images from my_images:without; validation: 4 held back from them; test: 2 from my_images:without",
        "training images that are copies of others, so that train and validation may share them: 19",
        "test images that are copies of training images: 2",
        "channel 1 of the training images is 0 everywhere: its deviation counts as 1",
    )
