"""The distilled sets in assets/ are whole, small, and do what their cards say they do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dp_core.data import open_train_test
from dp_core.distillation import DistilledSet, RandomImages
from dp_core.distillation.judging import few_step_accuracy
from dp_core.models import ModelSpec

ROOT = Path(__file__).parents[1]
SETS = sorted((ROOT / "assets" / "distilled").glob("*.safetensors"))
MEGABYTE = 10**6


def test_there_are_sets_and_they_are_small() -> None:
    assert {path.stem for path in SETS} >= {"cifar10-1ipc", "cifar10-10ipc", "cifar10-50ipc", "cifar10-search-10ipc"}
    assert sum(path.stat().st_size for path in (ROOT / "assets" / "distilled").iterdir()) < 16 * MEGABYTE


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_a_set_says_how_it_was_made_and_what_it_is_worth(path: Path) -> None:
    found = DistilledSet.load(path)
    made = found.provenance
    assert made["command"].startswith("winnow distill configs/distill/")
    assert (ROOT / made["command"].split()[2]).is_file()
    # without the images that are held back from a search, and without those of cifar10-mini
    assert made["source_images"] == 39_712
    assert made["seed"] == 0
    assert made["cost"]["seconds"] > 0
    measured = {row["set"]: row for row in found.quality["test_accuracy"]["rows"]}
    assert {path.stem, "random_images", "herding"} <= set(measured)
    assert measured[path.stem]["accuracy_mean"] > measured["random_images"]["accuracy_mean"]
    assert found.quality["test_accuracy"]["validation_unseen"]


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_thirty_steps_on_a_set_beat_thirty_on_random_images(path: Path, tmp_path: Path) -> None:
    train, test = open_train_test("parquet", ROOT / "assets" / "cifar10-mini", cache=tmp_path)
    found = DistilledSet.load(path)
    found.check_fits(train.image_shape, train.class_names)
    network = ModelSpec("convnet", {"depth": 3, "width": 32})
    random = RandomImages().distill(train, found.images_per_class, seed=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours, theirs = (few_step_accuracy(each, test, network, 30, seed=0, train=train) for each in (found, random))
    finally:
        torch.set_num_threads(threads)
    assert ours > theirs + 0.05
