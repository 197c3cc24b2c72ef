"""Zen-score against what a Gaussian matrix does on average, and what batch norm's term is for."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import nn

from dp_core.models import ModelSpec, build
from dp_core.proxies.zen import Zen, features_and_scale
from tests.dp_core.proxies.scoring import Blind, inputs_of

WIDTH = 512


def perceptron(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, WIDTH), *between, nn.Linear(WIDTH, 3))


def test_a_linear_layer_stretches_noise_as_a_gaussian_matrix_does() -> None:
    # f(x) - f(x + γ ε) = -γ W ε, each of whose entries has the size γ ‖ε‖ |N(0, 1)|: on average γ √192 √(2/π).
    expected = math.log(WIDTH * 0.01 * math.sqrt(192 * 2 / math.pi))
    assert Zen().value(perceptron(), inputs_of(), 0) == pytest.approx(expected, abs=0.02)


def test_features_are_what_enters_the_global_pooling() -> None:
    layers = [nn.Conv2d(3, WIDTH, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 3)]
    # Per pixel γ w·ε of three channels, whose size is γ E χ₃ √(2/π) = γ √(8/π) √(2/π) = 4 γ / π on average.
    expected = math.log(WIDTH * 64 * 0.01 * 4 / math.pi)
    assert Zen().value(nn.Sequential(*layers), inputs_of(), 0) == pytest.approx(expected, abs=0.04)


def test_what_batch_norm_takes_away_is_given_back() -> None:
    without = Zen(images=64).value(perceptron(), inputs_of(), 0)
    found = Zen(images=64).value(perceptron(nn.BatchNorm1d(WIDTH)), inputs_of(), 0)
    assert found == pytest.approx(without, abs=0.02)
    # Group norm takes it away likewise: half the logarithm of the variance of 192 products.
    grouped = Zen(images=64).value(perceptron(nn.GroupNorm(1, WIDTH)), inputs_of(), 0)
    assert without - grouped == pytest.approx(math.log(192) / 2, abs=0.05)


def test_the_term_of_a_batch_norm_by_hand() -> None:
    images = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0], [7.0, 40.0]])[:, :, None, None]
    # Variances 5 and 225.
    features, log_scale = features_and_scale(nn.BatchNorm2d(2, eps=1.0), images)
    assert log_scale == pytest.approx(0.5 * math.log(115 + 1), rel=1e-6)
    assert features.shape == (4, 2, 1, 1)


def test_a_larger_disturbance_of_a_linear_network_counts_in_proportion() -> None:
    found = Zen(mixup=0.08).value(perceptron(), inputs_of(), 0)
    assert found == pytest.approx(Zen(mixup=0.01).value(perceptron(), inputs_of(), 0) + math.log(8), abs=1e-3)


def test_neither_the_data_nor_the_initial_weights_matter() -> None:
    spec = ModelSpec("convnet", {"depth": 2, "width": 8, "norm": "group"})
    one, other = inputs_of(), inputs_of(per_class=3)
    models = [build(spec, (3, 8, 8), 3, seed=seed) for seed in (0, 1)]
    with torch.no_grad():
        for parameter in models[1].parameters():
            parameter.mul_(3).add_(1)
    assert Zen().value(models[0], one, 0) == Zen().value(models[1], other, 0)


def test_more_repeats_scatter_less() -> None:
    spec = ModelSpec("convnet", {"depth": 2, "width": 4, "norm": "batch"})
    spread = {}
    for repeats in (1, 16):
        values = [Zen(4, repeats).score(spec, inputs_of(), seed)[0].value for seed in range(12)]
        spread[repeats] = float(torch.tensor(values).std())
    assert spread[16] < 0.6 * spread[1]


def test_a_network_that_does_not_see_the_image() -> None:
    assert Zen().value(Blind(), inputs_of(), 0) == math.log(sys.float_info.min)
