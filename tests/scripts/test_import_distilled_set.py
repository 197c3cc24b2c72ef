"""Published arrays become a set that carries the space they live in."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dp_core.data import open_train_test
from dp_core.distillation import DistilledSet
from dp_core.distillation.card import card_path
from dp_core.errors import UserError
from dp_core.files import digest_of_file
from scripts.import_distilled_set import main
from tests.search.tiny import CLASSES, TRAIN, write_images

Import = Callable[..., DistilledSet]
IMAGES = np.random.default_rng(3).normal(size=(6, 3, 8, 8)).astype(np.float32)
LABELS = np.array([0, 0, 1, 1, 2, 2])


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    write_images(tmp_path / "images")

    def run(*options: str, labels: npt.NDArray[Any] = LABELS) -> DistilledSet:
        np.savez(tmp_path / "published.npz", images=IMAGES, labels=labels)
        arguments = [str(tmp_path / "published.npz"), str(tmp_path / "sets" / "mtt.safetensors")]
        folders = ["--data", str(tmp_path / "images"), "--cache", str(tmp_path / "cache")]
        monkeypatch.setattr(sys, "argv", ["import_distilled_set.py", *arguments, *folders, *options])
        main()
        return DistilledSet.load(tmp_path / "sets" / "mtt.safetensors")

    return run


def train_pixels(folder: Path) -> npt.NDArray[np.float64]:
    train, _ = open_train_test("parquet", folder / "images", cache=folder / "cache")
    return train.images.numpy().astype(np.float64) / 255


def test_images_and_labels_are_as_published(imported: Import) -> None:
    found = imported()
    assert np.array_equal(found.images.numpy(), IMAGES)
    assert found.labels.tolist() == LABELS.tolist()
    assert (found.class_names, found.images_per_class, found.learning_rate) == (CLASSES, 2, None)


def test_soft_labels_stay_soft(imported: Import) -> None:
    soft = np.eye(3)[LABELS] * 0.7 + 0.1
    assert np.array_equal(imported(labels=soft).labels.numpy(), soft.astype(np.float32))


def test_without_a_word_they_are_standardised(imported: Import, tmp_path: Path) -> None:
    found = imported()
    pixels = train_pixels(tmp_path)
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    given = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = (given.numpy() - mean[:, None, None]) / std[:, None, None]
    assert np.allclose(found.preprocess(given).numpy(), expected, atol=1e-4)


def test_with_an_eps_they_are_whitened(imported: Import, tmp_path: Path) -> None:
    found = imported("--zca", "0.1")
    flat = train_pixels(tmp_path).reshape(TRAIN * len(CLASSES), -1)
    left, singular, right = np.linalg.svd(flat - flat.mean(0), full_matrices=True)
    spectrum = np.zeros(flat.shape[1])
    spectrum[: len(singular)] = singular**2 / len(flat)
    matrix = right.T @ np.diag((spectrum + 0.1) ** -0.5) @ right
    given = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = (given.numpy().reshape(2, -1) - flat.mean(0)) @ matrix
    assert np.allclose(found.preprocess(given).numpy().reshape(2, -1), expected, atol=1e-3)
    assert left.shape[0] == len(flat)


def test_the_card_says_where_they_are_from(imported: Import, tmp_path: Path) -> None:
    imported("--zca", "0.1")
    text = card_path(tmp_path / "sets" / "mtt.safetensors").read_text()
    told = json.loads(text)["provenance"]
    train, _ = open_train_test("parquet", tmp_path / "images", cache=tmp_path / "cache")
    assert told == {
        "imported_from": "published.npz",
        "sha256": digest_of_file(tmp_path / "published.npz"),
        "preprocessing": "ZCA, eps 0.1",
        "source_digest": train.digest,
        "source_images": TRAIN * len(CLASSES),
    }
    assert str(tmp_path) not in text


def test_arrays_of_other_classes_are_refused(imported: Import) -> None:
    with pytest.raises(UserError, match="2 images of each of its 3 classes"):
        imported(labels=np.array([0, 0, 0, 1, 1, 1]))


def test_an_eps_of_nothing_is_refused(imported: Import) -> None:
    with pytest.raises(UserError, match="eps above 0"):
        imported("--zca", "0")
