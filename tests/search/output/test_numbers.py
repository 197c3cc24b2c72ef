from __future__ import annotations

import math

import pytest

from search.output import numbers


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.25, "8.2 s"), (9.96, "10.0 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (84, "1 min 24 s"), (3725, "1 h 2 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_871_232, "1.87 M"),
        (999_499, "999 k"),
        (999_999, "1 M"),
        (3e9, "3 G"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_magnitudes(number: float | None, text: str) -> None:
    assert numbers.magnitude(number) == text


@pytest.mark.parametrize(
    ("factor", "text"), [(0.957, "0.96 ×"), (7.26, "7.3 ×"), (119.6, "120 ×"), (12345.0, "12,345 ×"), (None, "-")]
)
def test_times(factor: float | None, text: str) -> None:
    assert numbers.times(factor) == text


def test_a_correlation_has_its_sign() -> None:
    assert [numbers.correlation(rho) for rho in (0.834, -1.0, math.nan)] == ["+0.83", "-1.00", "-"]
