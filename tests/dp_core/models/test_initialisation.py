from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.models import INITIALISATIONS, ModelSpec, build
from dp_core.models.initialisation import initialise
from tests.dp_core.small import copy_of, same

DRAWN = [name for name in INITIALISATIONS if name != "default"]


def layers(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A user's own model: a plain and a grouped convolution, norms, and linear layers with and without bias."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 64, 3),
        nn.BatchNorm2d(64),
        nn.Conv2d(64, 128, 3, groups=4),
        nn.GroupNorm(2, 128),
        nn.Linear(200, 300, bias=False),
        nn.LayerNorm(300),
        nn.Linear(300, classes),
    )


def with_its_own(input_shape: tuple[int, int, int], classes: int, *, initialisation: str = "ones") -> nn.Module:
    """A user's own model that knows what `initialisation` is."""
    layer = nn.Linear(input_shape[0], classes)
    nn.init.constant_(layer.weight, {"ones": 1.0, "twos": 2.0}[initialisation])
    return layer


def anything(input_shape: tuple[int, int, int], classes: int, **settings: int) -> nn.Module:
    assert not settings
    return nn.Linear(input_shape[0], classes)


def built(initialisation: str, seed: int = 0) -> nn.Module:
    return build(ModelSpec(f"{__name__}:layers", {"initialisation": initialisation}), (16, 8, 8), 100, seed=seed)


# Weights of an output and of an input of each layer of `layers`: what a unit adds up, and what a number is added to.
FANS = {"0": (16 * 9, 64 * 9), "2": (16 * 9, 128 * 9), "4": (200, 300), "6": (300, 100)}


@pytest.mark.parametrize("initialisation", DRAWN)
def test_weights_have_the_deviation_and_the_shape_of_the_papers(initialisation: str) -> None:
    model = built(initialisation)
    for name, (inputs, outputs) in FANS.items():
        weight = model.get_parameter(f"{name}.weight").detach()
        kaiming, normal = initialisation.startswith("kaiming"), initialisation.endswith("normal")
        deviation = math.sqrt(2 / inputs) if kaiming else math.sqrt(2 / (inputs + outputs))
        # 9,216 weights or more: the deviation of a sample is off by 1/√(2·9216) = 0.7 % of it, of the mean 1 %.
        assert float(weight.std()) == pytest.approx(deviation, rel=0.03)
        assert abs(float(weight.mean())) < 0.04 * deviation
        beyond = float((weight.abs() > math.sqrt(3) * deviation * (1 + 1e-6)).float().mean())
        assert beyond == pytest.approx(2 * (1 - 0.95837) if normal else 0.0, abs=0.01)  # Φ(√3) = 0.95837


@pytest.mark.parametrize("initialisation", DRAWN)
def test_biases_become_zero_and_norms_stay(initialisation: str) -> None:
    model = layers((16, 8, 8), 100)
    for norm in ("1", "3", "5"):
        nn.init.uniform_(model.get_parameter(f"{norm}.weight"))
        nn.init.uniform_(model.get_parameter(f"{norm}.bias"))
    before = copy_of(model)
    initialise(model, initialisation)
    after = copy_of(model)
    for name, value in after.items():
        layer, _, kind = name.partition(".")
        if layer in FANS:
            assert not same(value, before[name])
            assert kind == "weight" or not value.any()
        else:
            assert same(value, before[name]), name


def test_default_is_what_the_architecture_does() -> None:
    assert same(copy_of(built("default")), copy_of(build(ModelSpec(f"{__name__}:layers"), (16, 8, 8), 100, seed=0)))


def test_a_seed_draws_the_same_weights_and_others_than_another() -> None:
    assert same(copy_of(built("xavier_normal", seed=1)), copy_of(built("xavier_normal", seed=1)))
    assert not same(copy_of(built("xavier_normal", seed=1)), copy_of(built("xavier_normal", seed=2)))
    states = [copy_of(built(initialisation)) for initialisation in INITIALISATIONS]
    assert not any(same(one, other) for i, one in enumerate(states) for other in states[:i])


def test_a_weight_that_two_layers_share_is_drawn_once() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    torch.manual_seed(0)
    initialise(nn.Sequential(first, second), "kaiming_normal")
    alone: Tensor = first.weight.detach().clone()
    second.weight = first.weight
    torch.manual_seed(0)
    initialise(nn.Sequential(first, second), "kaiming_normal")
    assert torch.equal(second.weight, alone)


def test_a_users_own_parameter_of_this_name_gets_it() -> None:
    name = f"{__name__}:with_its_own"
    assert build(ModelSpec(name, {"initialisation": "twos"}), (3, 8, 8), 2).get_parameter("weight").unique() == 2
    assert build(ModelSpec(name), (3, 8, 8), 2).get_parameter("weight").unique() == 1


def test_a_function_that_takes_anything_is_not_given_it() -> None:
    model = build(ModelSpec(f"{__name__}:anything", {"initialisation": "kaiming_uniform"}), (3, 8, 8), 2)
    assert not model.get_parameter("bias").any()


@pytest.mark.parametrize("value", ["kaiming_nromal", "Kaiming-Normal"])
def test_an_unknown_one_is_told_with_the_nearest_right_one(value: str) -> None:
    message = (
        rf"'convnet' has no initialisation '{value}'\. Did you mean 'kaiming_normal'\? Known: default, kaiming_normal"
    )
    with pytest.raises(UserError, match=message):
        build(ModelSpec("convnet", {"initialisation": value}), (3, 8, 8), 2)
    with pytest.raises(UserError, match=f"no initialisation '{value}'"):
        initialise(nn.Linear(2, 2), value)


def test_something_that_is_no_word_is_refused() -> None:
    with pytest.raises(UserError, match=r"'alexnet' has no initialisation '3'\. Known: default"):
        build(ModelSpec("alexnet", {"initialisation": 3}), (3, 8, 8), 2)
