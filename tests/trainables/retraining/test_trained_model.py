from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from tests.trainables.driving import CLASSES, SHAPE, SPACE
from trainables.retraining.trained_model import TrainedModel

SPEC = ModelSpec("convnet", {"depth": 1, "width": 4, "norm": "batch"})


@pytest.fixture
def model() -> TrainedModel:
    network = build(SPEC, SHAPE, len(CLASSES), seed=1)
    network(torch.rand(4, *SHAPE))  # moves the norm's statistics, which are buffers
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return TrainedModel(SPEC, SHAPE, CLASSES, SPACE, weights, {"trial": 4, "seed": 0, "test_accuracy": 0.625})


def test_it_comes_back_from_its_folder(model: TrainedModel, tmp_path: Path) -> None:
    model.write_into(tmp_path)
    found = TrainedModel.load(tmp_path)
    assert (found.spec, found.input_shape, found.class_names) == (SPEC, SHAPE, CLASSES)
    assert (found.space, found.results) == (SPACE, model.results)
    assert found.weights.keys() == model.weights.keys()
    assert all(torch.equal(found.weights[name], model.weights[name]) for name in model.weights)
    images = torch.rand(5, *SHAPE)
    assert torch.equal(found.build()(images), model.build()(images))


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])


def edit(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        edit,
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "card.json").unlink(),
        lambda folder: (folder / "card.json").write_text('{"model"'),
        lambda folder: (folder / "card.json").write_text("{}"),
    ],
    ids=["cut", "edited", "no weights", "no card", "half a card", "an empty card"],
)
def test_a_damaged_folder_is_named(model: TrainedModel, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    model.write_into(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError) as caught:
        TrainedModel.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
