"""Values of proxies that train, against trainings written out in plain PyTorch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dp_core.data.preprocessing import Standardisation
from dp_core.models import ModelSpec
from dp_core.proxies import Proxy, ProxyInputs
from dp_core.proxies.distilled_pruning import DistilledPruning
from dp_core.proxies.distilled_training import DistilledTraining
from dp_core.proxies.random_subset import RandomSubset
from dp_core.proxies.real_training import RealDataTraining
from dp_core.proxies.short_training import MEASURES, Measure, Source
from dp_core.proxies.training_speed import TrainingSpeed
from tests.dp_core.proxies.trained import (
    SHIFTED,
    adamw,
    calibrated,
    held_back,
    losses_of,
    measured,
    plain_sgd,
    trained_inputs,
)
from tests.dp_core.small import small_spec

SEED = 5
SPARSITIES = (0.0, 0.3, 0.6, 0.9)
# Without norm: the gradient of a bias before batch norm is rounding, which Adam makes steps of.
SPEC = small_spec("none")
FIXED: dict[str, Any] = {"schedule": "constant", "augmentation": "none", "batch_size": 100}
SHORT: dict[str, Any] = {"batch_size": 2, "augmentation": "none"}


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float32 where the machine would take bfloat16."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)


@pytest.mark.parametrize("steps", [1, 4, 7])
@pytest.mark.parametrize("name", ["plain", "shifted", "whitened"])
def test_all_measures_of_a_training_on_a_set(name: str, steps: int) -> None:
    inputs, spec = trained_inputs(), SPEC
    proxy = DistilledTraining(set=name, steps=(steps,), measures=MEASURES, learning_rate=0.01, **FIXED)
    found = {reading.key: reading.value for reading in proxy.score(spec, inputs, SEED)}
    model, chosen = inputs.network(spec, SEED), inputs.sets[name]
    losses = losses_of(model, chosen.training_data(), steps, adamw(0.01))
    accuracy, loss = measured(model, *held_back(inputs, chosen.preprocessing))
    assert found[f"speed@{steps}"] == pytest.approx(-sum(losses), rel=1e-4)
    assert found[f"late_speed@{steps}"] == pytest.approx(-sum(losses[steps // 2 :]), rel=1e-4)
    assert found[f"accuracy@{steps}"] == accuracy
    assert found[f"calibrated@{steps}"] == accuracy  # there is no batch norm
    assert found[f"loss@{steps}"] == pytest.approx(-loss, rel=1e-4)
    if name != "plain":
        elsewhere = measured(model, *held_back(inputs, inputs.preprocessing))[1]
        assert found[f"loss@{steps}"] != pytest.approx(-elsewhere, rel=0.02)


@pytest.mark.parametrize("name", ["plain", "shifted"])
def test_calibration_takes_the_statistics_of_real_images_in_the_space_of_the_set(name: str) -> None:
    inputs, spec = trained_inputs(), small_spec("batch")
    measures: tuple[Measure, ...] = ("accuracy", "calibrated")
    proxy = DistilledTraining(set=name, steps=(3,), measures=measures, learning_rate=0.01, **FIXED)
    found = {reading.key: reading for reading in proxy.score(spec, inputs, SEED)}
    model, chosen = inputs.network(spec, SEED), inputs.sets[name]
    losses_of(model, chosen.training_data(), 3, adamw(0.01))
    images, labels = held_back(inputs, chosen.preprocessing)
    running = measured(model, images, labels)[0]
    calibrated(model, inputs, chosen.preprocessing)
    judged = measured(model, images, labels)[0]
    assert judged != running
    assert found["accuracy@3"].value == pytest.approx(running, abs=0.012)  # two images of 180
    assert found["calibrated@3"].value == pytest.approx(judged, abs=0.012)
    assert found["calibrated@3"].forward_images == found["accuracy@3"].forward_images + 24


def test_soft_labels_are_trained_on() -> None:
    inputs, spec = trained_inputs(), SPEC
    chosen = inputs.sets["plain"]
    soft = torch.softmax(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), 1)
    object.__setattr__(chosen, "labels", soft)
    proxy = TrainingSpeed(source="plain", steps=(4,), learning_rate=0.01, **FIXED)
    losses = losses_of(inputs.network(spec, SEED), chosen.training_data(), 4, adamw(0.01))
    assert proxy.score(spec, inputs, SEED)[0].value == pytest.approx(-sum(losses), rel=1e-4)


def test_a_learned_rate_is_used_by_plain_gradient_descent() -> None:
    inputs, spec = trained_inputs(), SPEC
    proxy = DistilledTraining(
        set="learned", steps=(6,), measures=("speed",), augmentation="none"
    )  # by default one-cycle
    losses = losses_of(inputs.network(spec, SEED), inputs.sets["learned"].training_data(), 6, plain_sgd(0.05))
    assert proxy.score(spec, inputs, SEED)[0].value == pytest.approx(-sum(losses), rel=1e-4)


def test_a_rate_that_is_asked_for_goes_before_a_learned_one() -> None:
    inputs, spec = trained_inputs(), SPEC
    found = [
        DistilledTraining(set=name, steps=(4,), measures=("speed",), learning_rate=0.02).score(spec, inputs, SEED)[0]
        for name in ("learned", "plain")
    ]
    assert found[0].value == found[1].value


def test_real_images_are_trained_on_and_scored_in_the_space_of_the_inputs() -> None:
    inputs, spec = trained_inputs(SHIFTED), SPEC
    proxy = RealDataTraining(steps=(4,), measures=("speed", "loss"), learning_rate=0.01, **FIXED)
    speed, loss = (reading.value for reading in proxy.score(spec, inputs, SEED))
    model = inputs.network(spec, SEED)
    data = SHIFTED(inputs.train.images.float() / 255), inputs.train.labels
    assert speed == pytest.approx(-sum(losses_of(model, data, 4, adamw(0.01))), rel=1e-4)
    assert loss == pytest.approx(-measured(model, *held_back(inputs, SHIFTED))[1], rel=1e-4)


@pytest.mark.parametrize("kind", [RealDataTraining(**SHORT, steps=(4,)), DistilledPruning(**SHORT, set="plain")])
def test_the_seed_orders_the_images_too(kind: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = ProxyInputs.network, trained_inputs()
    monkeypatch.setattr(ProxyInputs, "network", lambda self, spec, seed: network(self, spec, 0))
    found = [[reading.value for reading in kind.score(SPEC, inputs, seed)] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def drawn_by(
    spec: ModelSpec, seed: int, monkeypatch: pytest.MonkeyPatch, space: Standardisation | None = None
) -> Source:
    """Return what a random subset of 3 images a class trains on."""
    sources: list[Source] = []
    monkeypatch.setattr(RandomSubset, "readings", lambda self, spec, inputs, source, seed: sources.append(source))
    RandomSubset(ipc=3).score(spec, trained_inputs(space), seed)
    monkeypatch.undo()
    return sources[0]


def test_a_random_subset_is_the_same_for_all_architectures_and_another_for_each_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, other = (drawn_by(small_spec(norm), 0, monkeypatch).data for norm in ("batch", "none"))
    assert torch.equal(first.images, other.images)
    assert torch.equal(first.labels, other.labels)
    assert first.labels.bincount().tolist() == [3, 3, 3]
    assert not torch.equal(first.images, drawn_by(small_spec(), 1, monkeypatch).data.images)
    train = trained_inputs().train
    places = [(train.images == image).flatten(1).all(1).nonzero().item() for image in first.images]
    assert len(set(places)) == 9
    assert torch.equal(train.labels[places], first.labels)


def test_a_random_subset_goes_through_the_space_of_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    source = drawn_by(small_spec(), 0, monkeypatch, SHIFTED)
    assert source.preprocessing == source.data.preprocessing == SHIFTED


def largest_kept(model: nn.Module, sparsity: float, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return which weights of convolutions and linear layers, all together, are left at a sparsity."""
    layers = {
        f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }
    weights = {name: layer.weight.detach().abs() * kept.get(name, torch.tensor(1)) for name, layer in layers.items()}
    every = torch.cat([weight.flatten() for weight in weights.values()]).sort().values
    threshold = every[round(sparsity * len(every))]
    return {name: weight >= threshold for name, weight in weights.items()}


@pytest.mark.parametrize("name", ["shifted", "learned"])
def test_pruning_by_hand(name: str) -> None:
    inputs, chosen = trained_inputs(), trained_inputs().sets[name]
    spec = small_spec("batch" if name == "learned" else "none")
    settings = FIXED | ({} if name == "learned" else {"learning_rate": 0.02})
    optimizer = plain_sgd(0.05) if name == "learned" else adamw(0.02)
    proxy = DistilledPruning(set=name, steps=(8,), sparsities=SPARSITIES[1:], **settings)
    *found, area = (reading.value for reading in proxy.score(spec, inputs, SEED))
    kept: dict[str, Tensor] = {}
    accuracies = []
    for sparsity in SPARSITIES:
        model = inputs.network(spec, SEED)
        losses_of(model, chosen.training_data(), 8, optimizer, kept)
        following = dict(pairwise(SPARSITIES)).get(sparsity)
        kept = {} if following is None else largest_kept(model, following, kept)
        calibrated(model, inputs, chosen.preprocessing)
        accuracies.append(measured(model, *held_back(inputs, chosen.preprocessing))[0])
    assert len(set(accuracies)) > 2  # or the test could not tell
    assert found == pytest.approx(accuracies[1:])
    assert area == pytest.approx(np.trapezoid(accuracies, SPARSITIES) / 0.9)
