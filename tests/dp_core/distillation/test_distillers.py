"""What holds for every distiller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation import DISTILLERS, DistilledSet, Distiller
from dp_core.distillation.base import Workspace
from dp_core.errors import UserError
from tests.dp_core.small import CLASSES, SHAPE, random_dataset, same

TINY = {"name": "convnet", "depth": 1, "width": 4}
# Settings that make a distiller quick; a new one needs a line here only if it is slow by itself.
QUICK: Mapping[str, dict[str, Any]] = {
    "distribution_matching": {"iterations": 3, "real_images": 4, "model": TINY},
    "gradient_matching": {"iterations": 3, "real_images": 4, "network_steps": 2, "architectures": TINY},
    "herding": {"steps": 3, "model": TINY},
    "k_center": {"steps": 3, "model": TINY},
    "rded": {"steps": 3, "model": TINY},
}
EVERY = pytest.mark.parametrize("name", DISTILLERS)


def make(name: str) -> Distiller:
    return DISTILLERS[name](**QUICK.get(name, {}))


def distilled(name: str, source: ImageDataset, ipc: int = 2, seed: int = 0) -> DistilledSet:
    return make(name).distill(source, ipc, seed)


@EVERY
@pytest.mark.parametrize("ipc", [1, 3])
def test_a_set_has_ipc_images_of_each_class_in_order(name: str, ipc: int) -> None:
    source = random_dataset()
    found = distilled(name, source, ipc)
    if found.labels.is_floating_point():  # soft labels are probabilities, whatever class the image was made for
        assert found.labels.shape == (ipc * CLASSES, CLASSES)
        assert found.labels.min() >= 0
        torch.testing.assert_close(found.labels.sum(1), torch.ones(ipc * CLASSES))
    else:
        assert found.labels.tolist() == [label for label in range(CLASSES) for _ in range(ipc)]
    assert found.images.shape == (ipc * CLASSES, *SHAPE)
    assert found.images_per_class == ipc
    assert found.class_names == source.class_names
    found.check_fits(source.image_shape, source.class_names)


@EVERY
def test_the_seed_and_nothing_else_decides(name: str) -> None:
    source = random_dataset()
    torch.rand(1)  # move the global generator on
    before = torch.get_rng_state()
    found = [distilled(name, source, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert found[0].digest == found[1].digest
    assert found[0].digest != found[2].digest


@EVERY
def test_the_source_is_left_alone(name: str) -> None:
    source, untouched = random_dataset(), random_dataset()
    distilled(name, source)
    assert torch.equal(source.images, untouched.images)
    assert torch.equal(source.labels, untouched.labels)


@EVERY
def test_the_space_is_standardised_by_the_sources_own_statistics(name: str) -> None:
    source = random_dataset(shape=(2, 6, 6))
    space = distilled(name, source).preprocessing
    assert isinstance(space, Standardisation)
    pixels = source.images.numpy() / 255
    assert space.mean == pytest.approx(pixels.mean((0, 2, 3)))
    assert space.std == pytest.approx(pixels.std((0, 2, 3)))


@EVERY
def test_impossible_ipc_is_refused(name: str) -> None:
    source = random_dataset(per_class=8)
    for ipc in (0, -1):
        with pytest.raises(UserError, match=f"at least 1 image a class, not {ipc}"):
            distilled(name, source, ipc)
    distilled(name, source, 8)
    lacking = source.select([i for i in range(24) if i != int(source.class_indices(1)[0])])
    with pytest.raises(UserError, match=r"class 'class 1' has 7 images, fewer than the 8 asked for"):
        distilled(name, lacking, 8)


@EVERY
def test_the_set_says_how_it_was_made_and_progress_reaches_its_end(name: str) -> None:
    source, told = random_dataset(), []
    workspace = Workspace(progress=lambda done, total, loss: told.append((done, total, loss)))
    found = make(name).distill(source, 2, 5, workspace)
    assert found.provenance["distiller"] == make(name).settings()
    assert found.provenance["distiller"]["method"] == name
    assert found.provenance["source_digest"] == source.digest
    assert (found.provenance["source_images"], found.provenance["seed"]) == (24, 5)
    assert found.provenance["cost"]["seconds"] >= 0
    assert told[-1][0] == told[-1][1]
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


@EVERY
def test_a_set_survives_being_saved(name: str, tmp_path: Any) -> None:
    found = distilled(name, random_dataset())
    found.save(tmp_path / "set.safetensors")
    loaded = DistilledSet.load(tmp_path / "set.safetensors")
    assert loaded.digest == found.digest
    assert loaded.preprocessing == found.preprocessing
    assert same(dict(loaded.provenance), dict(found.provenance))
