from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.models import ModelSpec, build
from dp_core.pruning import Mask
from dp_core.training import Mode, Network, Precision, Recipe, Training, evaluate
from dp_core.training.network import unchanged_buffers
from tests.dp_core.small import CLASSES, copy_of, random_data, same, small_model, through_a_file

RECIPE = Recipe(steps=7, batch_size=6, learning_rate=0.05)


def with_a_slow_norm() -> nn.Module:
    """Return a network with one norm in a block and one that no block takes."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Tanh(), nn.GroupNorm(2, 4), nn.Flatten(),
        nn.Linear(144, CLASSES),
    )  # fmt: skip


def without_blocks() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))


class Bilinear(nn.Module):
    """Multiplies an image's features with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.pairs = nn.Linear(36, 4), nn.Bilinear(4, 4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images.flatten(1))
        return self.pairs(features, features)


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a function that gives the processor bfloat16 units, or takes them away."""
    return lambda there: monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: there)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("make", "mode", "precision", "there", "expected"),
    [
        (small_model, "auto", "auto", True, ("fused", True)),
        (small_model, "auto", "auto", False, ("fused", False)),
        (small_model, "fused", "auto", True, ("fused", True)),
        (small_model, "auto", "float32", True, ("fused", False)),
        (small_model, "auto", "bfloat16", False, ("fused", True)),
        (small_model, "eager", "auto", True, ("eager", True)),  # a batch norm is fast in bfloat16 as it is
        (small_model, "eager", "float32", True, ("eager", False)),
        (lambda: small_model("instance"), "auto", "auto", True, ("fused", True)),
        (lambda: small_model("instance"), "eager", "auto", True, ("eager", False)),
        (lambda: small_model("instance"), "eager", "bfloat16", False, ("eager", True)),
        (with_a_slow_norm, "auto", "auto", True, ("fused", False)),
        (with_a_slow_norm, "auto", "bfloat16", True, ("fused", True)),
        (without_blocks, "auto", "auto", True, ("eager", True)),
        (without_blocks, "fused", "auto", False, ("eager", False)),
        (Bilinear, "auto", "auto", True, ("eager", False)),  # of which autocast knows nothing on a CPU
    ],
)
def test_mode_and_precision_are_what_was_asked_for_or_what_is_best(
    units: Callable[[bool], None],
    make: Callable[[], nn.Module],
    mode: Mode,
    precision: Precision,
    there: bool,
    expected: tuple[str, bool],
) -> None:
    units(there)
    network = Network(make(), mode=mode, precision=precision)
    assert (network.mode, network.bfloat16) == expected
    logits = network(random_data().images)
    assert logits.shape == (20, CLASSES)
    assert logits.dtype == torch.float32


def test_a_compiled_network_is_torchs(monkeypatch: pytest.MonkeyPatch, units: Callable[[bool], None]) -> None:
    units(True)
    compiled: list[Any] = []

    def compile_(model: nn.Module, *, dynamic: bool, options: dict[str, bool] | None) -> nn.Module:
        compiled.append((model, dynamic, options))
        return model

    monkeypatch.setattr(torch, "compile", compile_)
    model = small_model("instance")
    network = Network(model, mode="compiled")
    assert compiled == [(model, False, None)]
    assert (network.mode, network.bfloat16) == ("compiled", True)  # compiled norms are fast
    assert network(random_data().images).dtype == torch.float32


def test_without_kernels_a_network_is_executed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dp_core.kernels.fusing.block_library", lambda: None)
    model, images = small_model("instance"), random_data().images
    for mode in ("auto", "fused"):
        network = Network(model, mode=mode, precision="float32")
        assert network.mode == "eager"
        assert torch.equal(network(images), model(images))


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_modes_agree(norm: str, precision: Precision) -> None:
    images = random_data().images
    eager = Network(small_model(norm), mode="eager", precision="float32")(images)
    fused = Network(small_model(norm), mode="fused", precision=precision)(images)
    # In bfloat16: image, convolution, output of the block, linear layer, each rounded to 2^-9 at most.
    tolerance = 1e-5 if precision == "float32" else 4 * 2.0**-9
    assert float((fused - eager).detach().norm()) <= tolerance * float(eager.detach().norm())


@pytest.mark.parametrize("mode", ["eager", "fused"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_parameters_keep_their_identity_and_their_values(mode: Mode, precision: Precision) -> None:
    model = build(ModelSpec("convnet", {"depth": 2, "width": 4}), (3, 8, 8), CLASSES, seed=0)
    parameters, before = list(model.parameters()), copy_of(model)
    network = Network(model, mode=mode, precision=precision)
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert same(copy_of(model), before)
    if network.mode == "fused" or network.bfloat16:
        fours = [parameter for parameter in parameters if parameter.dim() == 4]
        assert len(fours) == 2
        assert all(parameter.is_contiguous(memory_format=torch.channels_last) for parameter in fours)


class Centred(nn.Module):
    """Keeps a running mean as a buffer of four dimensions, as users do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(1, 4, 1, 1))
        self.register_buffer("seen", torch.zeros(2, 3, 4, 5))
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        self.head = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images)
        if self.training:
            with torch.no_grad():
                self.get_buffer("centre").lerp_(features.mean((0, 2, 3), keepdim=True).float(), 0.5)
                self.get_buffer("seen").add_(1)
        return self.head((features - self.get_buffer("centre")).flatten(1))


@pytest.mark.parametrize("mode", ["eager", "fused"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_buffers_of_any_shape_are_the_models(mode: Mode, precision: Precision) -> None:
    model, images = Centred(), random_data().images
    network = Network(model, mode=mode, precision=precision)
    network.train()
    network(images)
    expected = 0.5 * torch.relu(model.body[0](images)).mean((0, 2, 3))
    torch.testing.assert_close(model.get_buffer("centre").flatten(), expected.detach(), rtol=2e-2, atol=1e-3)
    assert (model.get_buffer("seen") == 1).all()


class Counting(nn.Module):
    """Replaces its buffer, and counts, in each step of training; the logits show it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.last: Tensor | None = None
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(()))
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        self.head = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images)
        if self.training:
            self.calls += 1
            self.mean = 0.5 * self.mean + 0.5 * features.detach().mean()
        self.last = features.detach()
        return self.head(features.flatten(1)) + self.mean + self.calls


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_modules_keep_is_the_models_whatever_is_executed(precision: Precision) -> None:
    found: dict[str, tuple[float, float]] = {}
    modes: tuple[Mode, ...] = ("eager", "fused")
    for mode in modes:
        torch.manual_seed(0)
        model = Counting()
        training = Training(model, random_data(), replace(RECIPE, mode=mode, precision=precision), seed=0, mask=None)
        training.run(2)
        evaluate(model, random_data(), mode=mode, precision=precision)
        training.run(3)
        assert model.calls == 5
        assert isinstance(vars(model)["last"], Tensor)
        found[mode] = (float(model.mean), evaluate(model, random_data(), mode=mode, precision=precision).loss)
    assert found["fused"] == pytest.approx(found["eager"], rel=1e-3 if precision == "float32" else 0.05)


@pytest.mark.parametrize("mode", ["eager", "fused"])
def test_training_and_evaluation_mode_reach_what_is_executed(mode: Mode) -> None:
    model, images = small_model("batch"), random_data().images
    network = Network(model, mode=mode, precision="float32")
    network.train()
    network(images)
    assert int(model.get_buffer("blocks.1.num_batches_tracked")) == 1
    network.train(False)
    before = copy_of(model)
    with torch.no_grad():
        single = network(images[:1])
        whole = network(images)
    assert same(copy_of(model), before)
    torch.testing.assert_close(single, whole[:1], rtol=1e-5, atol=1e-5)  # batch statistics would differ


@pytest.mark.parametrize("norm", ["batch", "layer", "instance"])
def test_an_evaluation_in_blocks_is_that_of_the_plain_network(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = small_model(norm), random_data()
    model(3 + 2 * data.images)
    found = evaluate(model, data, batch_size=6, precision="float32")
    monkeypatch.setattr("dp_core.kernels.fusing.block_library", lambda: None)
    wanted = evaluate(model, data, batch_size=6, precision="float32")
    assert found.loss == pytest.approx(wanted.loss, rel=1e-5)
    assert (found.accuracy, found.predicted_classes) == (wanted.accuracy, wanted.predicted_classes)


def test_buffers_are_put_back_even_after_an_error() -> None:
    model, images = small_model("batch"), random_data().images
    before, buffers = copy_of(model), list(model.buffers())

    def look_and_fail() -> None:
        with unchanged_buffers(model):
            model(images)
            assert not same(copy_of(model), before)
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        look_and_fail()
    assert same(copy_of(model), before)
    assert all(one is other for one, other in zip(model.buffers(), buffers, strict=True))


def half_mask(model: nn.Module) -> Mask:
    draw = torch.Generator().manual_seed(0)
    return Mask({name: torch.rand(kept.shape, generator=draw) < 0.5 for name, kept in Mask.ones(model).items()})


def training(norm: str, recipe: Recipe, *, masked: bool = True) -> Training:
    model = small_model(norm)
    mask = half_mask(model) if masked else None
    return Training(model, random_data(), recipe, seed=5, mask=mask)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(("mode", "precision"), [("eager", "float32"), ("fused", "float32"), ("fused", "bfloat16")])
def test_removed_weights_are_exactly_zero_after_every_step(mode: Mode, precision: Precision, optimizer: Any) -> None:
    run = training("instance", replace(RECIPE, mode=mode, precision=precision, optimizer=optimizer))
    mask = half_mask(run.model)
    for _ in range(8):
        assert all((run.model.get_parameter(name)[~kept] == 0).all() for name, kept in mask.items())
        assert all((run.model.get_parameter(name)[kept] != 0).all() for name, kept in mask.items())
        run.run(1)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
def test_a_training_in_blocks_takes_the_steps_of_a_plain_one(norm: str) -> None:
    runs = [training(norm, replace(RECIPE, mode=mode, precision="float32")) for mode in ("eager", "fused")]
    losses = [run.run() for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for name, value in runs[0].model.state_dict().items():
        torch.testing.assert_close(runs[1].model.state_dict()[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("norm", ["batch", "layer", "instance"])
def test_in_bfloat16_blocks_a_seed_decides_every_bit_and_resuming_changes_none(norm: str) -> None:
    recipe = replace(RECIPE, mode="fused", precision="bfloat16", augmentation="flip_crop")
    whole, again = training(norm, recipe), training(norm, recipe)
    losses = [whole.run(1) for _ in range(7)]
    assert [again.run(1) for _ in range(7)] == losses
    assert same(again.state_dict(), whole.state_dict())
    assert whole.state_dict()["mode"] == "fused"
    for stop in (1, 4):
        first, second = training(norm, recipe), training(norm, recipe)
        first.run(stop)
        second.run(2)  # what it did before does not count
        second.load_state_dict(through_a_file(first.state_dict()))
        assert [second.run(1) for _ in range(stop, 7)] == losses[stop:]
        assert same(second.state_dict(), whole.state_dict())


@pytest.mark.usefixtures("kernels")
def test_a_training_goes_on_in_the_mode_that_it_was_in() -> None:
    for mode, other in (("fused", "eager"), ("eager", "fused")):
        recipe = replace(RECIPE, mode=mode, precision="bfloat16")  # type: ignore[arg-type]
        first = training("instance", recipe)
        first.run(3)
        second = training("instance", replace(recipe, mode=other))  # type: ignore[arg-type]
        assert second.network.mode == other
        second.load_state_dict(through_a_file(first.state_dict()))
        assert second.network.mode == mode
        assert second.run() == first.run()
        assert same(second.state_dict(), first.state_dict())


def test_divergence_in_blocks_is_noticed() -> None:
    data = random_data()
    data.images[3, 0, 2, 2] = torch.nan
    for activation in ("relu", "leaky_relu", "sigmoid"):
        for pooling in ("none", "max", "average"):
            choice = {"depth": 1, "width": 4, "activation": activation, "pooling": pooling}
            model = build(ModelSpec("convnet", choice), (1, 6, 6), CLASSES, seed=0)
            finite = Network(model, mode="fused", precision="float32")(data.images).isfinite().all(1)
            assert finite.tolist() == [image != 3 for image in range(20)]
            # torch's linear layer in bfloat16 spreads NaN to a neighbour, so this image alone is looked at.
            assert not Network(model, mode="fused", precision="bfloat16")(data.images)[3].isfinite().any()
