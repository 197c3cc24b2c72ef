from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp_core.data import ImageDataset, open_train_test
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import Array, files_in, random_images


def opened(root: Path) -> tuple[ImageDataset, ImageDataset]:
    return open_train_test("folder", root, cache=root.parent / "cache")


def save(path: Path, image: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write(root: Path, test: str = "test") -> list[Array]:
    """Write two cats and one dog to train, one dog to test; return them in the order they must be read."""
    images = random_images(4)
    save(root / "train/cat/1.png", images[0])
    save(root / "train/cat/2/below.PNG", images[1])
    save(root / "train/dog/0.bmp", images[2])
    save(root / test / "dog/9.png", images[3])
    return images


def assert_refused(root: Path, *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        opened(root)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert files_in(root.parent / "cache") == []


@pytest.mark.parametrize("test_folder", ["test", "val"])
def test_classes_are_folders_in_order_of_name(tmp_path: Path, test_folder: str) -> None:
    images = write(tmp_path / "root", test_folder)
    (tmp_path / "root/train/cat/notes.txt").write_text("not an image")
    (tmp_path / "root/train/cat/.hidden.png").write_text("not an image either")
    train, test = opened(tmp_path / "root")
    assert train.class_names == test.class_names == ("cat", "dog")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 1], [1])
    assert np.array_equal(train.images.numpy(), np.stack(images[:3]).transpose(0, 3, 1, 2))
    assert np.array_equal(test.images.numpy(), np.stack(images[3:]).transpose(0, 3, 1, 2))


def test_digest_follows_names_and_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b", "c", "d"):
        write(tmp_path / name)
    save(tmp_path / "c/train/cat/1.png", random_images(5)[4])
    (tmp_path / "d/train/dog/0.bmp").rename(tmp_path / "d/train/dog/1.bmp")
    digests = [opened(tmp_path / name)[0].digest for name in ("a", "b", "c", "d")]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_missing_folders(tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert_refused(root, f"There is no data folder {root}")
    root.mkdir()
    assert_refused(root, f"There is no folder {root / 'train'}")
    (root / "train").mkdir()
    assert_refused(root, f"{root / 'train'} holds no folders")
    (root / "train/cat").mkdir()
    assert_refused(root, f"There is no folder {root / 'test'}")
    (root / "test/cat").mkdir(parents=True)
    assert_refused(root, f"{root / 'train/cat'} holds no image")
    save(root / "train/cat/1.png", random_images(1)[0])
    assert_refused(root, f"{root / 'test'} holds no image")


def test_test_class_that_train_does_not_have(tmp_path: Path) -> None:
    write(tmp_path / "root")
    save(tmp_path / "root/test/dogs/1.png", random_images(1)[0])
    assert_refused(tmp_path / "root", str(tmp_path / "root/test/dogs"), "Did you mean 'dog'?")


def test_bad_images_are_named(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root)
    (root / "train/dog/5.jpg").write_bytes(b"rubbish")
    assert_refused(root, f"{root / 'train/dog/5.jpg'}: the image cannot be decoded")
    save(root / "train/dog/5.jpg", random_images(1, (8, 9, 3))[0])
    assert_refused(root, f"{root / 'train/dog/5.jpg'}: the image is 9x8", f"{root / 'train/cat/1.png'} is 5x6")
