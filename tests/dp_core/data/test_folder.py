from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp_core.data import ImageDataset, Reading, open_splits, open_train_test
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


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".git/lfs", "__MACOSX", "deeper/.cache", "@eaDir"])
@pytest.mark.parametrize("place", ["train/cat", "train", "test/dog"])
def test_what_lies_below_a_hidden_folder_is_no_data(tmp_path: Path, place: str, hidden: str) -> None:
    root = tmp_path / ".hidden" / "root"  # where the data lie does not count
    images = write(root)
    save(root / place / hidden / "1.png", random_images(5)[4])
    save(root / place / hidden / "below/2.png", random_images(6)[5])
    (root / "train/cat/._1.png").write_bytes(b"what another system keeps beside 1.png")
    (root / "train/cat/Thumbs.db").write_bytes(b"small pictures")
    if hidden.startswith("deeper") and place == "train":
        return assert_refused(root, f"{root / 'train/deeper'} holds no image")
    train, test = opened(root)
    assert train.class_names == ("cat", "dog")
    assert np.array_equal(train.images.numpy(), np.stack(images[:3]).transpose(0, 3, 1, 2))
    assert len(test) == 1


@pytest.mark.parametrize("suffix", ["JPEG", "Jpg", "PNG", "bmp", "tif", "TIFF", "WebP", "pgm", "jfif"])
def test_suffixes_of_images(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "root")
    kind = {"jfif": "jpeg", "pgm": "ppm"}.get(suffix, suffix.replace("tif", "tiff")).lower().replace("jpg", "jpeg")
    path = tmp_path / f"root/train/dog/1.{suffix}"
    Image.fromarray(random_images(1)[0]).save(path, kind.replace("tifff", "tiff"))
    assert len(opened(tmp_path / "root")[0]) == 4


def test_links_are_followed_and_a_ring_of_them_is_not(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root)
    extra = random_images(7)
    save(tmp_path / "elsewhere/5.png", extra[5])
    save(tmp_path / "single.png", extra[6])
    (root / "train/dog/linked").symlink_to(tmp_path / "elsewhere")
    (root / "train/dog/7.png").symlink_to(tmp_path / "single.png")
    (root / "train/dog/ring").symlink_to(root / "train/dog")
    train, _ = opened(root)
    assert np.array_equal(train.images[3:].numpy(), np.stack([extra[6], extra[5]]).transpose(0, 3, 1, 2))
    (root / "train/dog/8.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"dog/8\.png is a link to a file that is not there"):
        opened(root)


def sentences(root: Path, **keys: str) -> tuple[str, ...]:
    cache = root.parent / "cache"
    return open_splits("folder", root, cache=cache, validation=0.4, seed=0, reading=Reading(**keys)).sentences()


def enough(root: Path, test: str = "test") -> None:
    """Write four cats and four dogs to train, a cat and a dog to test."""
    images = random_images(10)
    for i in range(8):
        save(root / f"train/{('cat', 'dog')[i % 2]}/{i}.png", images[i])
    save(root / test / "cat/8.png", images[8])
    save(root / test / "dog/9.png", images[9])


def test_it_is_said_which_folder_became_which_split(tmp_path: Path) -> None:
    root = tmp_path / "root"
    enough(root, "val")
    assert sentences(root) == (
        "train: 4 images from train/; validation: 4 held back from them; "
        "test: 2 from val/, the validation split of the data, as there is no test/",
    )
    enough(root)
    split, note = sentences(root)
    assert split.endswith("test: 2 from test/")
    assert note.startswith("val/ is not used: validation images are held back from train/")


def test_what_is_odd_is_said_with_its_count_also_when_it_is_read_from_the_cache(tmp_path: Path) -> None:
    root = tmp_path / "root"
    enough(root)
    see_through = Image.new("RGBA", (5, 6), (0, 0, 0, 40))
    see_through.save(root / "train/cat/see-through.png")
    (root / "train/dog/table.CSV").write_text("a,b")
    save(root / "train/loose.png", random_images(1)[0])
    save(root / "train/dog/copy.png", random_images(10)[1])
    save(root / "test/dog/copy.png", random_images(10)[0])
    (root / "test/cat/8.png").unlink()
    for _ in range(2):
        assert sentences(root)[1:] == (
            "images in train/ itself, in no folder of a class, which are not read: 1",
            "files of other kinds in the folders of classes are not read: 1 .csv",
            "images that are transparent in places, and were laid on grey (data.ground): 1",
            "training images that are copies of others, so that train and validation may share them: 1",
            "test images that are copies of training images: 1",
            "classes without a test image: cat",
        )


def test_the_ground_decides_the_digest_where_something_lies_on_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root)
    cache = tmp_path / "cache"
    plain = [
        open_train_test("folder", root, cache=cache, reading=Reading(ground=ground))[0].digest
        for ground in ("grey", "white")
    ]
    assert plain[0] == plain[1]
    Image.new("RGBA", (5, 6), (0, 0, 0, 40)).save(root / "train/cat/see-through.png")
    found = [
        open_train_test("folder", root, cache=cache, reading=Reading(ground=ground))[0] for ground in ("grey", "white")
    ]
    assert found[0].digest != found[1].digest
    assert found[0].images[2, 0, 0, 0] == round(128 * 215 / 255)
    assert found[1].images[2, 0, 0, 0] == 215


def test_columns_are_of_no_use_in_folders(tmp_path: Path) -> None:
    write(tmp_path / "root")
    with pytest.raises(UserError, match=r"'data\.label' has no use with the data format 'folder'"):
        sentences(tmp_path / "root", label="fine_label")


def test_a_ground_is_a_colour() -> None:
    with pytest.raises(UserError, match=r"'data\.ground' is a colour, .* not 'wite'"):
        Reading(ground="wite")
