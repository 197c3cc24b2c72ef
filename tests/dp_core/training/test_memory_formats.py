"""A user's code gets what it would get in plain torch, however its network is executed."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.models import ModelSpec, build
from dp_core.training import Mode, Network, Population, Precision, Recipe, Training, TrainingData, evaluate
from tests.dp_core.own_networks import CLASSES, OWN, SHAPE, own
from tests.dp_core.small import same
from tests.dp_core.training.test_graph import Replaying

DATA = TrainingData(torch.randn(12, *SHAPE, generator=torch.Generator().manual_seed(3)), torch.arange(12) % CLASSES)
MODES: tuple[Mode, ...] = ("eager", "fused", "auto")
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
Run = tuple[Tensor, list[Tensor]]


def run_of(model: nn.Module, forward: Callable[[Tensor], Tensor]) -> Run:
    """Return logits and all gradients of one forward and backward pass."""
    logits = forward(DATA.images.clone()).float()
    F.cross_entropy(logits, DATA.labels).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return logits.detach(), gradients


def plainly(model: nn.Module, precision: Precision = "float32") -> Run:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        return run_of(model, model)


def assert_near(found: Run, expected: Run, precision: Precision) -> None:
    # In bfloat16 another pixel may be the largest of four: gradients are looked at for their direction.
    tolerance = 1e-4 if precision == "float32" else 0.3
    for one, other in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
        if float(other.norm()) > 1e-3:  # that of a bias before a batch norm is nothing but rounding
            assert float((one - other).norm()) <= tolerance * float(other.norm())


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mode", MODES)
def test_a_users_network_computes_what_it_computes_in_plain_torch(name: str, mode: Mode, precision: Precision) -> None:
    model = own(name)
    expected = plainly(copy.deepcopy(model))
    network = Network(model, mode=mode, precision=precision)
    assert_near(run_of(model, network), expected, precision)


@pytest.mark.parametrize("name", ["Viewed", "Shuffled", "Standardised", "Mixed"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_so_it_does_when_it_is_compiled(name: str, precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    model = own(name)
    expected = plainly(copy.deepcopy(model))
    network = Network(model, mode="compiled", precision=precision)
    assert_near(run_of(model, network), expected, precision)


class Watched(nn.Module):
    """Notes the strides of all that it meets on both ways, and whether they are those of a contiguous tensor."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[Any] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen = []
        features = images
        for name, layer in self.inner.named_children():
            features = layer(features)
            self.note(name, features)
            if features.requires_grad:
                features.register_hook(functools.partial(self.note, f"gradient of {name}"))
        self.seen += [(name, parameter.stride()) for name, parameter in self.inner.named_parameters()]
        return features

    def note(self, name: str, features: Tensor) -> None:
        self.seen.append((name, features.stride(), features.is_contiguous()))


STAGES: dict[str, Callable[[], list[nn.Module]]] = {
    "a block at a time": lambda: [
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU()),
        nn.Sequential(nn.BatchNorm2d(6), nn.LeakyReLU(0.1), nn.AvgPool2d(2)),
        nn.Sequential(nn.Conv2d(6, 1, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(1, 4, 4), nn.BatchNorm2d(4), nn.ReLU()),
    ],
    "blocks in a chain": lambda: [
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.GELU(), nn.Conv2d(6, 6, 1), nn.ReLU(), nn.Hardswish(), nn.Conv2d(6, 6, 1),
            nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        ),
        nn.Conv2d(4, 4, 1),
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)),
    ],
    "channels-last by the user": lambda: [
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()).to(memory_format=torch.channels_last),
        nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mode", MODES)
def test_strides_on_both_ways_are_those_of_plain_torch(stages: str, mode: Mode, precision: Precision) -> None:
    model = nn.Sequential(Watched(nn.Sequential(*STAGES[stages]())), nn.Flatten(), nn.LazyLinear(CLASSES))
    model(DATA.images)
    twin = copy.deepcopy(model)
    plainly(twin, precision)
    network = Network(model, mode=mode, precision=precision)
    run_of(model, network)
    executed: Any = network.executed
    assert executed[0].seen == twin[0].seen


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_evaluation_leaves_data_and_weights_as_they_are(mode: Mode, precision: Precision) -> None:
    for name in ("InPlace", "Standardised"):
        model, before = own(name), DATA.images.clone()
        strides = [parameter.stride() for parameter in model.parameters()]
        first = evaluate(model, DATA, mode=mode, precision=precision)
        assert evaluate(model, DATA, mode=mode, precision=precision) == first
        assert torch.equal(DATA.images, before)
        assert [parameter.stride() for parameter in model.parameters()] == strides


def test_layers_of_torch_that_change_their_images_get_their_own_ones() -> None:
    model = nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(192, CLASSES))
    for mode in MODES:
        before = DATA.images.clone()
        evaluate(model, DATA, mode=mode, precision="float32")
        assert torch.equal(DATA.images, before)


def trained(name: str, recorder: Any = None, **changes: Any) -> Training:
    settings = {"learning_rate": 0.02, "steps": 6, "batch_size": 6, "mode": "eager", "precision": "float32"}
    return Training(own(name), DATA, Recipe(**{**settings, **changes}), seed=1, mask=None, recorder=recorder)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_users_network_can_be_trained_in_blocks_and_as_a_recorded_step(name: str, precision: Precision) -> None:
    plain, blocks = trained(name), trained(name, mode="fused", precision=precision)
    recorded = trained(name, recorder=Replaying(), precision=precision)
    loss = plain.run()
    for other in (blocks, recorded):
        assert other.run() == pytest.approx(loss, rel=1e-3 if precision == "float32" else 0.1)
        assert [p.stride() for p in other.model.parameters()] == [p.stride() for p in plain.model.parameters()]


@pytest.mark.parametrize("name", ["Viewed", "Shuffled", "InPlace", "ChannelsLast"])
def test_members_of_a_population_end_as_alone(name: str) -> None:
    alone = trained(name)
    alone.run()
    members = [trained(name, mode=mode) for mode in ("fused", "eager")]
    for strategy in ("in_turn", "batched"):
        members = [trained(name, mode=mode) for mode in ("fused", "eager")]
        Population(members, strategy=strategy).run()
        for member in members:
            for found, expected in zip(member.model.parameters(), alone.model.parameters(), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("kernels")
def test_our_own_architectures_keep_the_fast_format() -> None:
    for name, choice in (("convnet", {"depth": 2, "width": 4}), ("resnet20", {"width": 16}), ("vit", {"width": 8})):
        model = build(ModelSpec(name, choice), SHAPE, CLASSES, seed=0)
        Network(model, mode="eager", precision="bfloat16")
        wide = [p for p in model.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)


def test_states_are_what_they_were() -> None:
    model = own("Standardised")
    before = {name: (value.clone(), value.stride()) for name, value in model.state_dict().items()}
    Network(model, mode="fused", precision="bfloat16")
    assert same({name: (value, value.stride()) for name, value in model.state_dict().items()}, before)
