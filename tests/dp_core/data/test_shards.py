from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.data.shards import find_shards, origin_of
from dp_core.data.source import Origin
from dp_core.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path) -> tuple[list[str], list[str]]:
    train, test = find_shards(root)
    return [path.name for path in train], [path.name for path in test]


def test_shards_are_found_by_prefix_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "test.parquet", "README.md")
    touch(tmp_path, "validation.parquet")
    assert found(tmp_path) == (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"], ["test.parquet"])


@pytest.mark.parametrize("name", ["val.parquet", "valid-00000-of-00001.parquet", "validation.parquet"])
def test_validation_serves_as_test_where_there_is_none(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train.parquet", name)
    assert found(tmp_path) == (["train.parquet"], [name])


def test_missing_folder_and_splits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"There is no data folder {tmp_path / 'nowhere'}"):
        find_shards(tmp_path / "nowhere")
    with pytest.raises(UserError, match=rf"{tmp_path} holds no train\*\.parquet\.$"):
        find_shards(tmp_path)
    touch(tmp_path, "train.parquet")
    with pytest.raises(UserError, match=rf"{tmp_path} holds no test\*\.parquet or val\*\.parquet\.$"):
        find_shards(tmp_path)


def test_shards_in_a_folder_below_are_pointed_at(tmp_path: Path) -> None:
    touch(tmp_path, "data/train.parquet", "data/test.parquet")
    with pytest.raises(UserError, match=f"did you mean {tmp_path / 'data'}\\?"):
        find_shards(tmp_path)


def test_a_download_that_stopped_half_way_is_noticed(tmp_path: Path) -> None:
    touch(tmp_path, "train-00000-of-00003.parquet", "train-00002-of-00003.parquet", "test.parquet")
    with pytest.raises(UserError, match=r"lacks train-00001-of-00003\.parquet"):
        find_shards(tmp_path)


@pytest.mark.parametrize(
    ("names", "train", "test", "notes"),
    [
        (("train.parquet", "test.parquet"), "train.parquet", "test.parquet", ()),
        (
            ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "valid-00000-of-00001.parquet"),
            "train-*.parquet",
            "valid-00000-of-00001.parquet, the validation split of the data, as there is no test split",
            (),
        ),
        (
            ("train.parquet", "train-old.parquet", "test.parquet", "validation.parquet", "extra.parquet"),
            "train-old.parquet, train.parquet",
            "test.parquet",
            (
                "validation.parquet is not used: validation images are held back from the training images "
                "(data.validation)",
                "neither train nor test, and not read: extra.parquet",
            ),
        ),
    ],
)
def test_it_is_said_what_became_of_every_file(
    tmp_path: Path, names: tuple[str, ...], train: str, test: str, notes: tuple[str, ...]
) -> None:
    touch(tmp_path, *names)
    assert origin_of(*find_shards(tmp_path)) == Origin(train, test, notes)
