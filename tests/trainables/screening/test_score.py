from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables import Score


def test_mnasnet_equation_2_with_its_hard_coded_figures() -> None:
    # Tan et al. 2019: -0.07 is chosen so that twice the size must bring 5 % (relative) of accuracy.
    score = Score(100_000, -0.07)
    assert score(0.5, 100_000) == 0.5
    assert score(0.5, 200_000) == pytest.approx(0.5 * 0.952638, rel=1e-6)  # 2^-0.07 = exp(-0.07 · 0.693147)
    assert score(0.5 * 1.05, 200_000) == pytest.approx(score(0.5, 100_000), rel=1e-3)


def test_without_exponent_it_is_the_accuracy() -> None:
    assert Score(1000, 0.0)(0.37, 123) == 0.37


@given(
    accuracy=st.floats(0.01, 1),
    parameters=st.integers(1, 10**8),
    target=st.integers(1, 10**8),
    exponent=st.floats(-2, 0),
)
def test_it_is_a_product_of_accuracy_and_a_power(
    accuracy: float, parameters: int, target: int, exponent: float
) -> None:
    expected = math.log(accuracy) + exponent * (math.log(parameters) - math.log(target))
    assert math.log(Score(target, exponent)(accuracy, parameters)) == pytest.approx(expected, abs=1e-9)
