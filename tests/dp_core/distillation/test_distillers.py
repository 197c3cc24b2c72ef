"""What holds for every distiller."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import ZCA, Standardisation
from dp_core.distillation import DISTILLERS, DistilledSet, Distiller
from dp_core.distillation.base import Workspace
from dp_core.distillation.iterative import IterativeDistiller
from dp_core.distillation.judging import few_step_accuracy
from dp_core.errors import UserError
from dp_core.models import ModelSpec
from tests.dp_core.small import CLASSES, SHAPE, random_dataset, same, with_constant_channel

TINY = {"name": "convnet", "depth": 1, "width": 4}
# Settings that make a distiller quick; a new one needs a line here only if it is slow by itself.
MATCHING: dict[str, Any] = {
    "iterations": 3,
    "image_rate": 10.0,
    "steps": 2,
    "batch_size": 4,
    "expert_epochs": 1,
    "max_start_epoch": 2,
    "learned_rate_start": 0.01,
    "architectures": TINY,
    "experts": {"experts": 2, "epochs": 2, "batch_size": 12},
}
QUICK: Mapping[str, dict[str, Any]] = {
    "datm": {**MATCHING, "first_max_start_epoch": 1},
    "distribution_matching": {"iterations": 3, "real_images": 4, "architectures": TINY},
    "feature_regression": {"iterations": 3, "networks": 2, "architectures": TINY},
    "herding": {"steps": 3, "model": TINY},
    "k_center": {"steps": 3, "model": TINY},
    "rded": {"steps": 3, "model": TINY},
    "tesla": MATCHING,
    "trajectory_matching": MATCHING,
}
EVERY = pytest.mark.parametrize("name", DISTILLERS)
ITERATIVE = pytest.mark.parametrize(
    "name", [n for n, kind in DISTILLERS.items() if issubclass(kind, IterativeDistiller)]
)


def make(name: str) -> Distiller:
    return DISTILLERS[name](**QUICK.get(name, {}))


def distilled(name: str, source: ImageDataset, ipc: int = 2, seed: int = 0) -> DistilledSet:
    return make(name).distill(source, ipc, seed)


@ITERATIVE
def test_infinite_settings_are_refused(name: str) -> None:
    known = fields(DISTILLERS[name])  # type: ignore[arg-type]
    floats = [field.name for field in known if isinstance(field.default, float)]
    assert "image_rate" in floats
    for setting in floats:
        with pytest.raises(UserError, match=rf"^{name} needs {setting} .*, not inf\.$"):
            DISTILLERS[name](**{**QUICK[name], setting: math.inf})


@ITERATIVE
def test_memory_that_does_not_suffice_is_told_with_what_to_lower(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DISTILLERS[name], "objective", lambda *_: torch.empty(2**55))
    with pytest.raises(UserError, match=rf"^The memory of cpu does not suffice for {name} with 6 images of 1×6×6: .*"):
        distilled(name, random_dataset())


@ITERATIVE
def test_other_errors_of_a_network_are_not_taken_for_a_lack_of_memory(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DISTILLERS[name], "objective", lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        distilled(name, random_dataset())


@EVERY
@pytest.mark.parametrize("ipc", [1, 3])
def test_a_set_has_ipc_images_of_each_class_in_order(name: str, ipc: int) -> None:
    source = random_dataset()
    found = distilled(name, source, ipc)
    if found.labels.is_floating_point():  # soft labels are probabilities, whatever class the image was made for
        assert found.labels.shape == (ipc * CLASSES, CLASSES)
        assert found.labels.min() >= 0
        assert (found.labels.sum(1) - 1).abs().max() <= 5e-4  # in float16, as they are stored
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


@EVERY
def test_settings_are_plain_json_and_make_the_same_distiller(name: str) -> None:
    told = make(name).settings()
    again = json.loads(json.dumps(told, sort_keys=True, allow_nan=False))
    assert again == told
    assert again.pop("method") == name
    rebuilt = DISTILLERS[name](**again)
    assert rebuilt.settings() == told
    assert rebuilt.distill(random_dataset(), 1, 0).digest == distilled(name, random_dataset(), 1).digest


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
def test_gray_and_coloured_images_of_any_size_are_distilled(name: str, channels: int) -> None:
    source = random_dataset(classes=2, shape=(channels, 8, 4))
    found = distilled(name, source, 2)
    assert found.images.shape == (4, channels, 8, 4)
    found.check_fits(source.image_shape, source.class_names)


class Interrupted(Exception):
    pass


def stop_half_way(done: int, total: int, loss: float) -> None:
    if 2 * done >= total:
        raise Interrupted


@EVERY
def test_an_interrupted_distillation_ends_in_the_same_set(name: str, tmp_path: Path) -> None:
    source = random_dataset()
    place = Workspace(folder=tmp_path / "state", checkpoint_every=1, experts=tmp_path / "experts")
    with pytest.raises(Interrupted):
        make(name).distill(source, 2, 0, replace(place, progress=stop_half_way))
    found, whole = make(name).distill(source, 2, 0, place), distilled(name, source)
    assert found.digest == whole.digest
    assert found.provenance["cost"]["image_gradients"] == whole.provenance["cost"]["image_gradients"]


@ITERATIVE
def test_iterations_are_not_done_again(name: str, tmp_path: Path) -> None:
    source, told = random_dataset(), []
    place = Workspace(folder=tmp_path / "state", checkpoint_every=1, experts=tmp_path / "experts")
    with pytest.raises(Interrupted):  # in the second of three, after which there was no checkpoint
        make(name).distill(source, 2, 0, replace(place, progress=stop_half_way))
    make(name).distill(source, 2, 0, replace(place, progress=lambda done, total, loss: told.append(done)))
    assert told == [2, 3]
    with pytest.raises(UserError, match="holds the checkpoint of another distillation"):
        make(name).distill(source, 2, 1, place)


@ITERATIVE
def test_the_set_of_the_highest_validation_accuracy_is_kept(name: str, tmp_path: Path) -> None:
    source, held_back = random_dataset(), random_dataset(per_class=20, seed=5)
    given = {**QUICK[name], "validate_every": 1, "validate_steps": 4}
    distiller = DISTILLERS[name](**given)
    with pytest.raises(UserError, match=f"{name} needs validation images where validate_every is 1"):
        distiller.distill(source, 2, 0)
    shown: dict[int, DistilledSet] = {}
    place = Workspace(checkpoint_every=1, folder=tmp_path, experts=tmp_path / "experts", validation=held_back)
    found = distiller.distill(source, 2, 0, replace(place, snapshot=shown.__setitem__))
    spec = ModelSpec.from_dict(TINY)
    scores = {done: few_step_accuracy(made, held_back, spec, 4, 0, train=source) for done, made in shown.items()}
    assert list(scores) == [1, 2, 3]
    best = max(scores, key=lambda done: scores[done])
    assert found.digest == shown[best].digest
    assert found.provenance["kept_iteration"] == best
    assert found.provenance["validation_accuracy"] == pytest.approx(scores[best])
    assert found.provenance["validation_digest"] == held_back.digest
    with pytest.raises(UserError, match="holds the checkpoint of another distillation"):
        distiller.distill(source, 2, 0, replace(place, validation=random_dataset(seed=6)))


@ITERATIVE
def test_the_last_state_is_kept_and_validation_images_change_nothing(name: str) -> None:
    shown: dict[int, DistilledSet] = {}
    workspace = Workspace(checkpoint_every=2, validation=random_dataset(seed=5), snapshot=shown.__setitem__)
    found = make(name).distill(random_dataset(), 2, 0, workspace)
    assert list(shown) == [2, 3]
    assert found.digest == shown[3].digest == distilled(name, random_dataset()).digest
    assert found.provenance["kept_iteration"] == 3
    assert found.provenance["validation_accuracy"] is None
    assert found.provenance["validation_digest"] is None


@ITERATIVE
def test_a_set_may_live_in_whitened_space(name: str) -> None:
    source = random_dataset(per_class=20)
    given = {**QUICK[name], "space": "zca", "zca_eps": 0.05, "image_rate": 1e-6, "iterations": 1}
    found = DISTILLERS[name](**given).distill(source, 2, 0)
    expected = ZCA.fit(source.images.float() / 255, 0.05)
    assert isinstance(found.preprocessing, ZCA)
    assert torch.equal(found.preprocessing.matrix, expected.matrix)
    # Steps of no length leave what it starts from: real images, whitened.
    apart = (expected(source.images / 255)[None] - found.images[:, None]).abs().amax((2, 3, 4))
    assert apart.amin(1).max() < 1e-3
    assert source.labels[apart.argmin(1)].tolist() == [0, 0, 1, 1, 2, 2]


@EVERY
def test_a_constant_channel_makes_no_infinities(name: str, tmp_path: Path) -> None:
    made = make(name).distill(with_constant_channel(), 2, 0, Workspace(experts=tmp_path))
    assert torch.isfinite(made.training_data()[0]).all()


@ITERATIVE
def test_a_constant_channel_can_be_whitened(name: str, tmp_path: Path) -> None:
    distiller = DISTILLERS[name](**{**QUICK[name], "space": "zca"})
    made = distiller.distill(with_constant_channel(), 2, 0, Workspace(experts=tmp_path))
    assert isinstance(made.preprocessing, ZCA)
    assert torch.isfinite(made.training_data()[0]).all()
