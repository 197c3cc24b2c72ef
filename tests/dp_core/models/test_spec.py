"""Finding an architecture by name, and what a ModelSpec is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dp_core.errors import UserError, nearest
from dp_core.models import ModelSpec, build, source_digest
from dp_core.pruning import prunable_parameters
from tests.dp_core.small import copy_of, same


def two_layers(input_shape: tuple[int, int, int], classes: int, *, hidden: int = 5) -> nn.Module:
    """A user's own model, found as this module's function."""
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0] * 64, hidden), nn.Linear(hidden, classes))


def anything(input_shape: tuple[int, int, int], classes: int, **settings: int) -> nn.Module:
    return nn.Linear(sum(settings.values()), classes)


def test_without_a_seed_the_global_generator_is_drawn_from() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        one = copy_of(build(ModelSpec("convnet", {"width": 4}), (3, 8, 8), 4))
        other = copy_of(build(ModelSpec("convnet", {"width": 4}), (3, 8, 8), 4))
    assert same(one, copy_of(build(ModelSpec("convnet", {"width": 4}), (3, 8, 8), 4, seed=5)))
    assert not same(one, other)


def test_misspelt_names_are_told_with_the_nearest_right_one() -> None:
    with pytest.raises(
        UserError, match=r"no architecture 'convnett'\. Did you mean 'convnet'\? Known: convnet, alexnet"
    ):
        build(ModelSpec("convnett"), (3, 32, 32), 10)
    with pytest.raises(
        UserError, match=r"no hyperparameter 'widht'\. Did you mean 'width'\? It has: depth, width, norm"
    ):
        build(ModelSpec("convnet", {"widht": 8}), (3, 32, 32), 10)
    with pytest.raises(UserError, match=r"no hyperparameter 'classes'"):  # the data decides, not the spec
        build(ModelSpec("convnet", {"classes": 8}), (3, 32, 32), 10)


def test_a_users_own_function_is_a_model() -> None:
    model = build(ModelSpec(f"{__name__}:two_layers", {"hidden": 6}), (2, 8, 8), 3, seed=0)
    assert [tuple(p.shape) for p in prunable_parameters(model).values()] == [(6, 128), (3, 6)]
    with pytest.raises(
        UserError, match=r"no hyperparameter 'hiden'\. Did you mean 'hidden'\? It has: hidden, initialisation"
    ):
        build(ModelSpec(f"{__name__}:two_layers", {"hiden": 6}), (2, 8, 8), 3)
    free = build(ModelSpec(f"{__name__}:anything", {"a": 1, "b": 2}), (2, 8, 3), 3)
    assert isinstance(free, nn.Linear)
    assert free.weight.shape == (3, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no_such_package:model",
            r"'no_such_package:model' cannot be imported: ModuleNotFoundError: No module named 'no_such_package'",
        ),
        ("math:no_such_model", r"'math:no_such_model' cannot be imported: .* has no attribute 'no_such_model'"),
        ("math:pi", r"The model 'math:pi' is not a function"),
    ],
)
def test_a_users_own_function_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(ModelSpec(name), (3, 32, 32), 10)


def test_a_spec_survives_being_a_plain_dict() -> None:
    spec = ModelSpec("convnet", {"depth": 2, "norm": "batch"})
    assert spec.to_dict() == {"name": "convnet", "depth": 2, "norm": "batch"}
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    drawn = ModelSpec("alexnet", {"initialisation": "xavier_uniform"})
    assert drawn.to_dict() == {"name": "alexnet", "initialisation": "xavier_uniform"}
    assert ModelSpec.from_dict(drawn.to_dict()) == drawn
    with pytest.raises(UserError, match="needs a 'name'"):
        ModelSpec.from_dict({"depth": 2})


def test_a_label_names_numbers_and_leaves_words_alone() -> None:
    spec = ModelSpec("convnet", {"depth": 3, "width": 64, "norm": "instance"})
    assert spec.label() == "convnet depth=3 width=64 instance"
    assert ModelSpec("alexnet").label() == "alexnet"
    assert ModelSpec("vit", {"depth": 2, "initialisation": "kaiming_normal"}).label() == "vit depth=2 kaiming_normal"


def test_a_users_function_that_fails_or_returns_no_module_is_named() -> None:
    with pytest.raises(UserError, match="'operator:truediv' cannot be built: TypeError"):
        build(ModelSpec("operator:truediv"), (3, 8, 8), 2)
    with pytest.raises(UserError, match="'itertools:repeat' is repeat, not a torch module"):
        build(ModelSpec("itertools:repeat"), (3, 8, 8), 2)


@pytest.mark.parametrize("name", [":f", "..a:f"])
def test_a_name_that_is_no_module_path_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot be imported"):
        build(ModelSpec(name), (3, 8, 8), 2)


def test_the_nearest_name_is_found_whatever_its_case() -> None:
    assert nearest("AdamW", ["sgd", "adam", "adamw"]) == " Did you mean 'adamw'?"
    assert nearest("SGD", ["sgd", "adam", "adamw"]) == " Did you mean 'sgd'?"


def test_a_users_function_is_another_one_when_its_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_network.py").write_text("def small(input_shape, classes):\n    return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = ModelSpec("my_network:small", {})
    first = source_digest(spec)
    assert first is not None
    assert source_digest(ModelSpec("my_network:small", {"width": 3})) == first
    (tmp_path / "my_network.py").write_text("def small(input_shape, classes):\n    return 1\n")
    assert source_digest(spec) != first
    assert source_digest(ModelSpec("convnet", {})) is None
    assert source_digest(ModelSpec("builtins:max", {})) is None
