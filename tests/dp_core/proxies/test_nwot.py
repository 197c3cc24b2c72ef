"""NWOT against determinants by hand and numpy, and what counts as a unit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.proxies.nwot import NWOT, agreements, log_determinant
from tests.dp_core.proxies.scoring import inputs_of


def by_definition(codes: np.ndarray) -> np.ndarray:
    """Return the paper's K of codes of 0 and 1, [images, units]."""
    return codes @ codes.T + (1 - codes) @ (1 - codes).T


def test_two_images_by_hand() -> None:
    images = torch.tensor([[2.0, -1.0, 3.0], [1.0, 1.0, -4.0]])
    # Codes 101 and 110 agree in one unit of three: det = 3² - 1².
    kernel = agreements(nn.Sequential(nn.ReLU()), images)
    assert kernel.tolist() == [[3, 1], [1, 3]]
    assert log_determinant(kernel) == pytest.approx(math.log(8), rel=1e-12)


def network(activation: nn.Module) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3), activation, nn.Flatten(), nn.Linear(144, 20), nn.ReLU(), nn.Linear(20, 3)]
        return nn.Sequential(*layers)


def test_the_codes_of_all_layers_in_numpy() -> None:
    model, inputs = network(nn.ReLU()), inputs_of()
    found = NWOT(images=10).value(model, inputs, 0)
    images = inputs.given[0][0]
    entering_first = model[0](images).flatten(1)
    entering_second = model[3](entering_first.relu())
    codes = (torch.cat([entering_first, entering_second], 1) > 0).double().numpy()
    sign, expected = np.linalg.slogdet(by_definition(codes))
    assert sign == 1
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.LeakyReLU(0.01), nn.GELU(), nn.Sigmoid()])
def test_the_sign_of_what_enters_is_the_code(activation: nn.Module) -> None:
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    entering = network(nn.ReLU())[0](images).flatten(1)
    first = by_definition((entering > 0).double().numpy())
    model = network(activation)
    assert np.array_equal(agreements(nn.Sequential(model[0], activation), images).numpy(), first)


def test_batch_norm_normalises_by_the_batch() -> None:
    """In evaluation mode an untrained norm would leave these images all positive, and every code the same."""
    images = 100 + torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    units = 3 * 8 * 8
    kernel = agreements(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()).eval(), images)
    assert kernel.diagonal().tolist() == [units] * 6
    off = kernel[~torch.eye(6, dtype=torch.bool)]
    assert off.mean() == pytest.approx(units / 2, rel=0.1)


@given(st.integers(0, 999), st.integers(2, 6), st.integers(1, 40))
def test_the_determinant_is_that_of_a_matrix_of_whole_numbers(seed: int, images: int, units: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2, (images, units)).astype(float)
    kernel = by_definition(codes)
    found = log_determinant(torch.from_numpy(kernel))
    determinant = round(np.linalg.det(kernel))  # exact at this size
    assert found >= 0
    assert found == pytest.approx(math.log(determinant) if determinant else 0, rel=1e-6, abs=1e-6)


def test_a_singular_kernel_has_the_lowest_score() -> None:
    def score(images: Tensor) -> float:
        return log_determinant(agreements(nn.Sequential(nn.ReLU()), images))

    images = torch.randn(80, 2000, generator=torch.Generator().manual_seed(0))
    assert score(images) > 500
    images[1] = images[0]
    assert score(images) == 0


def test_a_network_without_activations_that_are_modules_is_refused() -> None:
    with pytest.raises(UserError, match="NWOT cannot handle FunctionalReLU"):
        NWOT(4).score(ModelSpec("tests.dp_core.proxies.scoring:functional"), inputs_of(), 0)


def test_transformers_have_codes_too() -> None:
    model = build(ModelSpec("vit", {"depth": 2, "width": 8, "heads": 2}), (3, 8, 8), 3, seed=0)
    kernel = agreements(model, torch.randn(3, 3, 8, 8))
    assert kernel.diagonal().tolist() == [2 * 5 * 16] * 3  # GELUs of two blocks: five tokens, 16 hidden units
