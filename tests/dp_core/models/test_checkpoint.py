"""Networks that start from a user's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build, outline
from dp_core.pruning import Mask, Ticket
from tests.dp_core.small import CLASSES, SHAPE, copy_of, same

HYPERPARAMETERS = {"depth": 1, "width": 4, "norm": "batch"}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    model = build(ModelSpec("convnet", HYPERPARAMETERS), SHAPE, CLASSES, seed=77)
    state = {name: value + 1 for name, value in copy_of(model).items()}
    save_file(state, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def spec(path: Path | str) -> ModelSpec:
    return ModelSpec("convnet", {**HYPERPARAMETERS, "weights": str(path)})


def test_parameters_and_buffers_are_those_of_the_file(trained: Path) -> None:
    model = build(spec(trained), SHAPE, CLASSES, seed=1)
    expected = build(ModelSpec("convnet", HYPERPARAMETERS), SHAPE, CLASSES, seed=77)
    assert same(copy_of(model), {name: value + 1 for name, value in copy_of(expected).items()})
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_the_file_lacks_is_drawn(trained: Path) -> None:
    kept = {name: value for name, value in load_file(trained).items() if not name.startswith("classifier")}
    save_file(kept, trained)
    model, drawn = (
        build(spec(trained), SHAPE, 5, seed=1),
        build(ModelSpec("convnet", HYPERPARAMETERS), SHAPE, 5, seed=1),
    )
    for name, value in copy_of(model).items():
        assert torch.equal(value, kept[name] if name in kept else drawn.state_dict()[name])


def test_a_ticket_and_an_outline_need_no_file(trained: Path, tmp_path: Path) -> None:
    model = build(spec(trained), SHAPE, CLASSES, seed=1)
    ticket = Ticket(spec(trained), SHAPE, CLASSES, copy_of(model), Mask.ones(model), [], {})
    trained.unlink()
    ticket.save(tmp_path / "ticket")
    loaded = Ticket.load(tmp_path / "ticket")
    assert loaded.spec == spec(trained)
    assert same(copy_of(loaded.build()), copy_of(model))
    assert sum(each.numel() for each in outline(spec(trained), SHAPE, CLASSES).parameters()) > 144


def test_a_function_that_takes_weights_itself_gets_them() -> None:
    model = build(ModelSpec(f"{__name__}:own", {"weights": "whatever"}), SHAPE, CLASSES, seed=0)
    assert model.told == "whatever"


class Told(torch.nn.Sequential):
    told: str


def own(shape: tuple[int, int, int], classes: int, *, weights: str) -> torch.nn.Module:
    model = Told(torch.nn.Flatten(), torch.nn.Linear(36, classes))
    model.told = weights
    return model


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (None, "is to start from '{path}', which is no file."),
        (b"PK\x03\x04 a pickle", "which is no readable safetensors file"),
        ({"block.0.weight": (4, 1, 3, 3)}, "has 'block.0.weight', which the model 'convnet depth=1 width=4 batch"),
        ({"blocks.0.weight": (4, 1, 5, 5)}, "of shape [4, 1, 5, 5], the model"),
        ({}, "has no tensors to start the model"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, write: object, sentence: str) -> None:
    path = tmp_path / "wrong.safetensors"
    if isinstance(write, bytes):
        path.write_bytes(write)
    elif isinstance(write, dict):
        save_file({name: torch.zeros(shape) for name, shape in write.items()}, path)
    with pytest.raises(UserError) as caught:
        build(spec(path), SHAPE, CLASSES, seed=0)
    assert sentence.replace("{path}", str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)
