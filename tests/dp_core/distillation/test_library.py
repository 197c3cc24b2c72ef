from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dp_core.data import ImageDataset
from dp_core.distillation import DistilledLibrary, DistilledSet, DistributionMatching, RandomImages, Workspace
from dp_core.distillation.base import HERE
from dp_core.distillation.card import card_path
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import files_in
from tests.dp_core.small import random_dataset


class Counting:
    """A distiller that counts how often it is asked, and may fail."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked, self.fails = 0, fails
        self.workspace = HERE

    def settings(self) -> dict[str, Any]:
        return {"method": "counting"}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """Anything goes."""

    def distill(
        self, source: ImageDataset, images_per_class: int, seed: int, workspace: Workspace = HERE
    ) -> DistilledSet:
        self.asked += 1
        self.workspace = workspace
        if self.fails:
            raise UserError("no set today")
        return RandomImages().distill(source, images_per_class, seed, workspace)


def test_a_set_is_made_once_and_found_by_another_library(tmp_path: Path) -> None:
    distiller, source = Counting(), random_dataset()
    library = DistilledLibrary(tmp_path / "distilled")
    assert not library.holds(distiller, source, 2, 0)
    made = library.get(distiller, source, 2, 0)
    assert library.holds(distiller, source, 2, 0)
    found = DistilledLibrary(tmp_path / "distilled").get(Counting(fails=True), random_dataset(), 2, 0)
    assert found.digest == made.digest
    assert found.preprocessing == made.preprocessing
    library.get(distiller, source, 2, 0)
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
        library.path(DistributionMatching(architectures={"name": "convnet", "depth": 3, "width": 65}), source, 1, 0),
        library.path(matching, random_dataset(seed=1), 1, 0),
        library.path(matching, source.select(list(range(23))), 1, 0),
        library.path(matching, source, 2, 0),
        library.path(matching, source, 1, 1),
    ]
    assert len(set(paths)) == len(paths)
    assert library.path(DistributionMatching(), random_dataset(), 1, 0) == paths[0]


def test_a_set_without_its_card_is_made_again(tmp_path: Path) -> None:
    library, distiller, source = DistilledLibrary(tmp_path), Counting(), random_dataset()
    made = library.get(distiller, source, 2, 0)
    card_path(library.path(distiller, source, 2, 0)).unlink()
    assert not library.holds(distiller, source, 2, 0)
    assert library.get(distiller, source, 2, 0).digest == made.digest
    assert distiller.asked == 2


def test_a_damaged_set_is_named_and_not_replaced(tmp_path: Path) -> None:
    library, distiller, source = DistilledLibrary(tmp_path), Counting(), random_dataset()
    library.get(distiller, source, 2, 0)
    path = library.path(distiller, source, 2, 0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{path.name} does not match the digest in its card"):
        library.get(distiller, source, 2, 0)
    assert distiller.asked == 1


def test_a_distiller_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no set today"):
        DistilledLibrary(tmp_path / "distilled").get(Counting(fails=True), random_dataset(), 2, 0)
    assert files_in(tmp_path) == []


class Interrupted(Exception):
    pass


MATCHING = DistributionMatching(
    iterations=6, real_images=4, architectures={"name": "convnet", "depth": 1, "width": 4}, momentum=0.5
)


def interrupt(library: DistilledLibrary, workspace: Workspace = HERE, *, after: int = 4) -> None:
    def stop(done: int, total: int, loss: float) -> None:
        if done > after:
            raise Interrupted

    with pytest.raises(Interrupted):
        library.get(MATCHING, random_dataset(), 2, 0, replace(workspace, progress=stop, checkpoint_every=2))


def test_an_interrupted_distillation_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    source, library = random_dataset(), DistilledLibrary(tmp_path)
    interrupt(library)
    path = library.path(MATCHING, source, 2, 0)
    assert not library.holds(MATCHING, source, 2, 0)
    assert [folder.name for folder in tmp_path.iterdir()] == [path.with_suffix(".checkpoint").name]
    told: list[int] = []
    rest = Workspace(progress=lambda done, _total, _loss: told.append(done))
    found = DistilledLibrary(tmp_path).get(MATCHING, source, 2, 0, rest)
    assert told == [5, 6]
    assert found.digest == MATCHING.distill(source, 2, 0).digest
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, card_path(path).name])


def test_another_distillation_does_not_find_the_checkpoint(tmp_path: Path) -> None:
    library = DistilledLibrary(tmp_path)
    interrupt(library)
    told: list[int] = []
    rest = Workspace(progress=lambda done, _total, _loss: told.append(done))
    library.get(MATCHING, random_dataset(), 2, 1, rest)
    assert told == [1, 2, 3, 4, 5, 6]


def test_checkpoints_in_a_folder_of_the_callers_are_the_callers_to_remove(tmp_path: Path) -> None:
    library, mine = DistilledLibrary(tmp_path / "sets"), Workspace(folder=tmp_path / "mine")
    interrupt(library, mine)
    assert not (tmp_path / "sets").exists()
    said: list[str] = []
    library.get(MATCHING, random_dataset(), 2, 0, replace(mine, say=said.append))
    assert said == ["goes on from iteration 4 of 6"]
    assert (tmp_path / "mine" / "state.safetensors").exists()


def test_distillers_are_told_where_to_work(tmp_path: Path) -> None:
    distiller, library, source = Counting(), DistilledLibrary(tmp_path / "sets"), random_dataset()
    library.get(distiller, source, 1, 0)
    path = library.path(distiller, source, 1, 0)
    assert distiller.workspace.folder == path.with_suffix(".checkpoint")
    assert distiller.workspace.experts == tmp_path / "sets" / "experts"
    held_back = random_dataset(seed=9)
    mine = Workspace(folder=tmp_path / "mine", experts=tmp_path / "shared", checkpoint_every=7, validation=held_back)
    library.get(distiller, source, 2, 0, mine)
    assert distiller.workspace == mine


def test_a_network_of_ones_own_that_was_edited_makes_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    library, source = DistilledLibrary(tmp_path / "sets"), random_dataset()
    matching = DistributionMatching(architectures={"name": "my_embedding:network", "width": 4})

    def place(text: str) -> Path:
        (tmp_path / "my_embedding.py").write_text(text)
        return library.path(matching, source, 2, 0)

    first = place("def network(shape, classes, width):\n    return width\n")
    assert place("def network(shape, classes, width):\n    return width  # channels\n") == first
    assert place("def network(shape, classes, width):\n    return 2 * width\n") != first
