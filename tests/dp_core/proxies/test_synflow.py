"""SynFlow's score against products of matrices by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dp_core.proxies.synflow import SynFlow
from tests.dp_core.proxies.scoring import inputs_of


def test_two_layers_by_hand() -> None:
    first, last = nn.Linear(2, 2), nn.Linear(2, 1)
    first.weight = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    last.weight = nn.Parameter(torch.tensor([[-5.0, 6.0]]))
    # R = 5 (1 + 2) + 6 (3 + 4) = 57 without the biases, and the scores of each layer sum to R.
    network = nn.Sequential(nn.Flatten(), first, last)
    assert SynFlow().value(network, inputs_of((1, 1, 2)), 0) == pytest.approx(math.log(2 * 57), rel=1e-12)


def test_the_logarithm_of_what_float32_cannot_hold() -> None:
    network = nn.Sequential(nn.Flatten(), *[nn.Linear(64, 64, bias=False) for _ in range(40)])
    for parameter in network.parameters():
        nn.init.constant_(parameter, -4.0)
    # R = 64 · 256⁴⁰ in each of 40 layers.
    expected = math.log(40) + (6 + 8 * 40) * math.log(2)
    assert SynFlow().value(network, inputs_of((1, 8, 8)), 0) == pytest.approx(expected, rel=1e-12)


def test_norms_and_images_play_no_part() -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)]
    inputs = inputs_of()
    bare = SynFlow().value(nn.Sequential(*layers), inputs, 0)
    layers.insert(1, nn.BatchNorm2d(4))
    assert SynFlow().value(nn.Sequential(*layers), inputs, 1) == bare
    assert not inputs.given
