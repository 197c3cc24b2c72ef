from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.distillation import DistilledSet
from dp_core.distillation.random_images import RandomImages
from dp_core.errors import UserError
from search.pipeline.preparation import Preparation, prepare
from search.pipeline.run import wanted_sets
from search.runs.directory import RunDirectory
from search.runs.distilled_sets import make_sets
from search.runs.progress import Progress
from tests.search.tiny import config_of, write_images

Prepare = Callable[..., Preparation]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("distilling")
    write_images(found / "images")
    return found


@pytest.fixture
def prepared(folder: Path, tmp_path: Path) -> Prepare:
    def of(**changes: Any) -> Preparation:
        distill = {"directory": str(tmp_path / "sets"), **changes.pop("distill", {})}
        return prepare(config_of(folder, distill=distill, **changes), "tiny.yaml", local=False)

    return of


RUN = RunDirectory(Path("nowhere"))

BOTH = {"source": {"choice": ["distilled", "subset", "real"]}, "ipc": {"choice": [1, 3], "when": None}}
DM = {
    "method": "distribution_matching",
    "architectures": {"name": "convnet", "depth": 1, "width": 4},
    "settings": {"iterations": 2},
}


def made(preparation: Preparation) -> dict[str, DistilledSet]:
    folder, seed = preparation.config.distill.directory, preparation.config.run.seed
    return make_sets(wanted_sets(preparation), preparation.splits, folder, seed, RUN, Progress(quiet=True))


def test_every_source_and_ipc_of_the_space_has_its_set(prepared: Prepare) -> None:
    sets = made(prepared(space=BOTH, distill=DM))
    assert set(sets) == {"distilled-1", "distilled-3", "subset-1", "subset-3"}
    for key, found in sets.items():
        ipc = int(key[-1])
        assert found.images.shape == (3 * ipc, 3, 8, 8)
        assert torch.bincount(found.labels).tolist() == [ipc] * 3
    methods = {key: found.provenance["distiller"]["method"] for key, found in sets.items()}
    assert methods["distilled-3"] == "distribution_matching"
    assert methods["subset-3"] == "random_images"


def test_a_subset_is_of_real_training_images(prepared: Prepare) -> None:
    preparation = prepared(space=BOTH)
    subset = made(preparation)["subset-3"]
    train = preparation.splits.train
    pixels = train.images.float() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
    candidates = ((pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)).flatten(1)
    for image, label in zip(subset.images, subset.labels, strict=True):
        distance, index = (candidates - image.flatten()).abs().amax(1).min(0)
        assert distance < 1e-4
        assert train.labels[index] == label


def test_a_space_of_real_data_needs_no_set(prepared: Prepare, tmp_path: Path) -> None:
    assert made(prepared(space={"source": "real", "ipc": None})) == {}
    assert not (tmp_path / "sets").exists()


def test_a_set_is_made_once(prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(prepared(space=BOTH))

    def never(*args: object, **settings: object) -> DistilledSet:
        raise AssertionError("made a second time")

    monkeypatch.setattr(RandomImages, "distill", never)
    again = made(prepared(space=BOTH))
    assert {key: found.digest for key, found in again.items()} == {key: found.digest for key, found in first.items()}
    # The number of trials is nothing that a set depends on; the seed and the held-back images are.
    made(prepared(space=BOTH, search={"trials": 99}))
    with pytest.raises(AssertionError, match="second time"):
        made(prepared(space=BOTH, run={"seed": 1}))


def test_a_damaged_set_is_named(prepared: Prepare, tmp_path: Path) -> None:
    preparation = prepared(space={"source": "distilled", "ipc": 2})
    made(preparation)
    (file,) = (tmp_path / "sets").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UserError, match=file.name):
        made(preparation)
