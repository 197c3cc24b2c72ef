from __future__ import annotations

import hashlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from dp_core.data import open_train_test
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import files_in


def dump(path: Path, value: object) -> str:
    """Write a batch file as CIFAR's authors did and return its MD5, which torchvision checks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Put a CIFAR-10 of 7 images into tmp_path/root and tell torchvision its checksums; return the raw rows."""
    values = np.random.default_rng(0).integers(0, 256, (7, 3072), dtype=np.uint8)
    folder = tmp_path / "root" / datasets.CIFAR10.base_folder
    md5 = {
        "data_batch_1": dump(folder / "data_batch_1", {"data": values[:5], "labels": [0, 1, 2, 1, 0]}),
        "test_batch": dump(folder / "test_batch", {"data": values[5:], "labels": [2, 1]}),
        "meta": dump(folder / "batches.meta", {"label_names": ["ant", "bee", "cow"]}),
    }
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5["meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    monkeypatch.setattr(datasets.CIFAR10, "url", (tmp_path / "nowhere" / "cifar.tar.gz").as_uri())
    return values


def test_batches_are_read_as_published(tmp_path: Path, rows: np.ndarray) -> None:
    """A row is the red plane, then green, then blue, each 32 rows of 32 pixels (Krizhevsky's description)."""
    for _ in range(2):
        train, test = open_train_test("cifar10", tmp_path / "root", cache=tmp_path / "cache")
        assert train.class_names == ("ant", "bee", "cow")
        assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 2, 1, 0], [2, 1])
        assert np.array_equal(train.images.numpy(), rows[:5].reshape(5, 3, 32, 32))
        assert np.array_equal(test.images.numpy(), rows[5:].reshape(2, 3, 32, 32))


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("spoil", ["removed", "cut"])
def test_failed_download_is_told(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "root" / datasets.CIFAR10.base_folder / "data_batch_1"
    if spoil == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"CIFAR10 is not whole in {path.parent} and could not be downloaded") as caught:
        open_train_test("cifar10", tmp_path / "root", cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path / "cache") == []


def test_torchvision_that_cannot_be_imported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UserError, match="torchvision cannot be imported, so CIFAR100 cannot be read"):
        open_train_test("cifar100", tmp_path, cache=tmp_path / "cache")
