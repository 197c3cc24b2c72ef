from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from tests.dp_core.small import copy_of, same


class Spare(nn.Module):
    """Has a lazy head that is used in training only, or never."""

    def __init__(self, *, ever: bool) -> None:
        super().__init__()
        self.ever = ever
        self.body = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten())
        self.head, self.spare = nn.LazyLinear(5), nn.LazyLinear(5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images)
        return self.head(features) + (self.spare(features) if self.ever and self.training else 0)


@pytest.fixture
def networks() -> Iterator[Any]:
    module: Any = ModuleType("lazy_networks")
    sys.modules[module.__name__] = module
    module.lazy = lambda shape, classes, width=4: nn.Sequential(
        nn.LazyConv2d(width, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.LazyLinear(classes)
    )
    module.sized = lambda shape, classes, width=4: nn.Sequential(
        nn.Conv2d(shape[0], width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Dropout(),
        nn.Linear(width * (shape[1] - 2) * (shape[2] - 2), classes),
    )  # fmt: skip
    module.training = lambda shape, classes: Spare(ever=True)
    module.never = lambda shape, classes: Spare(ever=False)
    yield module
    del sys.modules[module.__name__]


@pytest.mark.usefixtures("networks")
def test_a_lazy_network_is_built_as_one_of_the_same_sizes() -> None:
    lazy, sized = (build(ModelSpec(f"lazy_networks:{name}"), (3, 8, 6), 5, seed=7) for name in ("lazy", "sized"))
    assert [type(module) for module in lazy.modules()] == [type(module) for module in sized.modules()]
    assert all(module.training for module in lazy.modules())
    assert same(copy_of(lazy), copy_of(sized))  # torch draws the weights of both in the same order


@pytest.mark.usefixtures("networks")
@pytest.mark.parametrize("initialisation", ["default", "kaiming_normal"])
def test_a_seed_decides_the_weights(initialisation: str) -> None:
    spec = ModelSpec("lazy_networks:lazy", {"initialisation": initialisation})
    state = torch.get_rng_state()
    one, again, other = (copy_of(build(spec, (3, 8, 8), 5, seed=seed)) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("networks")
def test_a_layer_that_is_there_in_training_only_gets_its_size_and_leaves_no_trace() -> None:
    model = build(ModelSpec("lazy_networks:training"), (3, 8, 8), 5, seed=0)
    assert model.get_parameter("spare.weight").shape == (5, 144)
    assert (model.get_buffer("body.1.running_mean") == 0).all()
    assert int(model.get_buffer("body.1.num_batches_tracked")) == 0
    assert all(module.training for module in model.modules())


@pytest.mark.usefixtures("networks")
def test_a_layer_without_a_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"^The lazy layer of 'spare.weight' is not used in the model's forward pass"):
        build(ModelSpec("lazy_networks:never"), (3, 8, 8), 5, seed=0)


def test_whatever_a_users_function_raises_is_told_in_one_line(networks: Any) -> None:
    def leaving(shape: Any, classes: int) -> nn.Module:
        sys.exit(3)

    def raising(shape: Any, classes: int) -> nn.Module:
        raise KeyError("one line\nand another")

    def failing(shape: Any, classes: int) -> nn.Module:
        return nn.Sequential(nn.LazyConv2d(4, 30), nn.Flatten(), nn.LazyLinear(classes))

    networks.leaving, networks.raising, networks.failing = leaving, raising, failing
    for name, sentence in (("leaving", "SystemExit: 3"), ("raising", "KeyError"), ("failing", "RuntimeError: ")):
        with pytest.raises(
            UserError, match=rf"^The model 'lazy_networks:{name}' cannot be built: {sentence}"
        ) as caught:
            build(ModelSpec(f"lazy_networks:{name}"), (3, 8, 8), 5)
        assert "\n" not in str(caught.value)
