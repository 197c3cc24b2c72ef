from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp_core.distillation.broken import Overstepped
from dp_core.distillation.learned_rate import LearnedRate


def stepped(rate: LearnedRate, gradient: float, momentum: float = 0.0) -> float:
    optimizer = torch.optim.SGD([rate.leaf], lr=rate.size, momentum=momentum)
    rate.follow(gradient)
    optimizer.step()
    return rate.value


def test_a_small_step_is_the_one_on_the_rate_itself() -> None:
    # 0.01 − 1e-5·g, for g of a few: what follows, (η g)²/2α, is a hundred thousandth of the rate.
    for gradient in (4.0, -4.0):
        assert stepped(LearnedRate(0.01, 1e-5, "sgd"), gradient) == pytest.approx(0.01 - 1e-5 * gradient, rel=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_gradient_of_any_size_changes_the_rate_by_a_factor_of_two_at_most(sign: int) -> None:
    # On the rate itself it would be 0.01 − 0.1.
    assert stepped(LearnedRate(0.01, 1e-5, "sgd"), sign * 1e4) == pytest.approx(0.01 * 2.0**-sign)
    assert stepped(LearnedRate(0.01, 1e-5, "sgd"), sign * 1e30) == pytest.approx(0.01 * 2.0**-sign)


def test_smaller_steps_are_smaller_for_any_gradient() -> None:
    rate = LearnedRate(0.01, 1e-5, "sgd")
    optimizer = torch.optim.SGD([rate.leaf], lr=rate.size / 4)
    rate.follow(1e30)
    optimizer.step()
    assert rate.value == pytest.approx(0.01 * 2**-0.25)


def test_adams_steps_are_as_large_as_on_the_rate_itself() -> None:
    rate = LearnedRate(0.01, 1e-5, "adam")
    optimizer = torch.optim.Adam([rate.leaf], lr=rate.size)
    rate.follow(123.0)
    optimizer.step()
    assert rate.value == pytest.approx(0.01 - 1e-5, rel=1e-6)
    assert LearnedRate(1e-9, 1e-5, "adam").size == math.log(2)


@given(
    gradients=st.lists(st.floats(-1e300, 1e300), max_size=20),
    start=st.floats(1e-6, 10),
    step=st.floats(1e-8, 1e3),
    momentum=st.floats(0, 0.95),
)
def test_the_rate_is_positive_whatever_the_gradients(
    gradients: list[float], start: float, step: float, momentum: float
) -> None:
    rate = LearnedRate(start, step, "sgd")
    optimizer = torch.optim.SGD([rate.leaf], lr=rate.size, momentum=momentum)
    for gradient in gradients:
        before = rate.value
        rate.follow(gradient)
        optimizer.step()
        assert 0 < rate.value < math.inf
        assert abs(math.log(rate.value / before)) <= math.log(2) / (1 - momentum) + 1e-9


@pytest.mark.parametrize("gradient", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_not_hidden(gradient: float) -> None:
    rate = LearnedRate(0.01, 1e-5, "sgd")
    rate.follow(gradient)
    assert rate.leaf.grad is not None
    assert not rate.leaf.grad.isfinite()


@pytest.mark.parametrize("logarithm", [200.0, -200.0, math.nan])
def test_a_rate_out_of_range_is_named(logarithm: float) -> None:
    rate = LearnedRate(0.01, 1e-5, "sgd")
    with torch.no_grad():
        rate.leaf.fill_(logarithm)
    with pytest.raises(Overstepped, match=r"^the learned rate is "):
        rate.check()
