"""JacobCov against numpy, at its extremes, and within its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.proxies.jacob_cov import JacobCov, correlation
from tests.dp_core.proxies.scoring import Blind, inputs_of, linear_chain

K = 1e-5


def score(eigenvalues: list[float]) -> float:
    return -sum(math.log(value + K) + 1 / (value + K) for value in eigenvalues)


class HalfSquare(nn.Module):
    """½ Σ x², whose gradient is the image itself."""

    def forward(self, images: Tensor) -> Tensor:
        return 0.5 * images.square().flatten(1)


def test_the_gradient_being_the_image() -> None:
    inputs = inputs_of()
    found = JacobCov(images=7).value(HalfSquare(), inputs, 0)
    rows = inputs.given[0][0].flatten(1).double().numpy()
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(rows))
    assert found == pytest.approx(score(list(eigenvalues)), rel=1e-5)


def test_a_linear_network_answers_alike_to_every_image() -> None:
    found = JacobCov(images=6).value(linear_chain(192, 5, 3).float(), inputs_of(), 0)
    assert found == pytest.approx(score([6, 0, 0, 0, 0, 0]), rel=1e-6)


def test_a_network_that_does_not_see_the_image_has_the_lowest_score() -> None:
    assert JacobCov(images=6).value(Blind(), inputs_of(), 0) == pytest.approx(score([0] * 6), rel=1e-12)


def test_rows_without_variance_have_no_correlation() -> None:
    rows = torch.tensor([[1.0, 2, 3], [0, 0, 0], [0.1, 0.1, 0.1], [3, 2, 1], [1, 3, 2]], dtype=torch.float64)
    expected = np.zeros((5, 5))
    varying = [0, 3, 4]
    expected[np.ix_(varying, varying)] = np.corrcoef(rows.numpy()[varying])
    assert np.allclose(correlation(rows).numpy(), expected, atol=1e-12)
    # What float32 makes of a constant is none either.
    assert not correlation(torch.full((2, 300), 0.1).double() + 1e-9 * torch.randn(2, 300)).any()


@given(st.integers(0, 999), st.integers(2, 6), st.integers(2, 9))
def test_the_score_is_within_its_bounds(seed: int, images: int, pixels: int) -> None:
    rows = torch.randn(images, pixels, generator=torch.Generator().manual_seed(seed)).double()
    eigenvalues = torch.linalg.eigvalsh(correlation(rows)).clamp(min=0).tolist()
    assert score([0] * images) <= score(eigenvalues) <= score([1] * images) + 1e-9
