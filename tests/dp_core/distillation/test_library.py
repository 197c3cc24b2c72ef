from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dp_core.data import ImageDataset
from dp_core.distillation import DistilledLibrary, DistilledSet, DistributionMatching, Progress, RandomImages
from dp_core.distillation.distilled_set import card_path
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import files_in
from tests.dp_core.small import random_dataset


class Counting:
    """A distiller that counts how often it is asked, and may fail."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked, self.fails = 0, fails

    def settings(self) -> dict[str, Any]:
        return {"method": "counting"}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """Anything goes."""

    def distill(self, source: ImageDataset, images_per_class: int, seed: int, progress: Progress) -> DistilledSet:
        self.asked += 1
        if self.fails:
            raise UserError("no set today")
        return RandomImages().distill(source, images_per_class, seed, progress)


def silent(done: int, total: int, loss: float) -> None:
    """Say nothing."""


def test_a_set_is_made_once_and_found_by_another_library(tmp_path: Path) -> None:
    distiller, source = Counting(), random_dataset()
    library = DistilledLibrary(tmp_path / "distilled")
    assert not library.holds(distiller, source, 2, 0)
    made = library.get(distiller, source, 2, 0, silent)
    assert library.holds(distiller, source, 2, 0)
    found = DistilledLibrary(tmp_path / "distilled").get(Counting(fails=True), random_dataset(), 2, 0, silent)
    assert found.digest == made.digest
    assert found.preprocessing == made.preprocessing
    library.get(distiller, source, 2, 0, silent)
    assert distiller.asked == 1
    path = library.path(distiller, source, 2, 0)
    assert sorted(files_in(tmp_path)) == sorted([path.name, card_path(path).name])
    assert path.name.startswith("counting-2ipc-")


def test_whatever_makes_a_set_different_gives_it_another_place(tmp_path: Path) -> None:
    library, source = DistilledLibrary(tmp_path), random_dataset()
    matching = DistributionMatching()
    paths = [
        library.path(matching, source, 1, 0),
        library.path(RandomImages(), source, 1, 0),
        library.path(DistributionMatching(iterations=301), source, 1, 0),
        library.path(DistributionMatching(model={"name": "convnet", "depth": 3, "width": 65}), source, 1, 0),
        library.path(matching, random_dataset(seed=1), 1, 0),
        library.path(matching, source.select(list(range(23))), 1, 0),
        library.path(matching, source, 2, 0),
        library.path(matching, source, 1, 1),
    ]
    assert len(set(paths)) == len(paths)
    assert library.path(DistributionMatching(), random_dataset(), 1, 0) == paths[0]


def test_a_set_without_its_card_is_made_again(tmp_path: Path) -> None:
    library, distiller, source = DistilledLibrary(tmp_path), Counting(), random_dataset()
    made = library.get(distiller, source, 2, 0, silent)
    card_path(library.path(distiller, source, 2, 0)).unlink()
    assert not library.holds(distiller, source, 2, 0)
    assert library.get(distiller, source, 2, 0, silent).digest == made.digest
    assert distiller.asked == 2


def test_a_damaged_set_is_named_and_not_replaced(tmp_path: Path) -> None:
    library, distiller, source = DistilledLibrary(tmp_path), Counting(), random_dataset()
    library.get(distiller, source, 2, 0, silent)
    path = library.path(distiller, source, 2, 0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{path.name} does not match the digest in its card"):
        library.get(distiller, source, 2, 0, silent)
    assert distiller.asked == 1


def test_a_distiller_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no set today"):
        DistilledLibrary(tmp_path / "distilled").get(Counting(fails=True), random_dataset(), 2, 0, silent)
    assert files_in(tmp_path) == []
