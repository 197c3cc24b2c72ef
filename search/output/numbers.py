"""Numbers as people read them; whatever is absent or not a number is a dash."""

from __future__ import annotations

import math

ABSENT = "-"


def percent(fraction: float | None, decimals: int = 1) -> str:
    """Return a fraction as a percentage without its sign: 0.6123 → 61.2."""
    return ABSENT if _absent(fraction) else f"{100 * _number(fraction):.{decimals}f}"


def count(number: float | None) -> str:
    """Return a whole number with separators: 1871232 → 1,871,232."""
    return ABSENT if _absent(number) else f"{_number(number):,.0f}"


def magnitude(number: float | None) -> str:
    """Return a number of operations or images with three figures and a unit: 1871232 → 1.87 M."""
    if _absent(number):
        return ABSENT
    for factor, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if _number(number) >= 0.9995 * factor:  # which three figures make the next unit's 1
            return f"{_number(number) / factor:.3g} {unit}"
    return f"{_number(number):.0f}"


def duration(seconds: float | None) -> str:
    """Return a length of time: 8.25 → 8.2 s, 84 → 1 min 24 s, 3725 → 1 h 2 min."""
    if _absent(seconds):
        return ABSENT
    value = _number(seconds)
    if round(value) < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def plural(number: int, noun: str) -> str:
    """Return the number with its noun: 1 trial, 2 trials."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def accuracy(mean: float, deviation: float | None, seeds: int) -> str:
    """Return a percentage, with the standard deviation over seeds where there are several."""
    if seeds < 2 or _absent(deviation):
        return percent(mean, 2)
    return f"{percent(mean, 2)} ± {percent(deviation, 2)}"


def proxy(mean: float | None, error: float | None) -> str:
    """Return a proxy accuracy in per cent, with its standard error where it is a mean over replicates: 31.0 ± 0.8."""
    return percent(mean) if _absent(error) else f"{percent(mean)} ± {percent(error)}"


def milliseconds(latency: float | None) -> str:
    """Return a latency in milliseconds with three figures and no unit: 1.2345 → 1.23."""
    return ABSENT if _absent(latency) else f"{_number(latency):.3g}"


def correlation(rho: float | None) -> str:
    """Return a correlation in [-1, 1] with its sign: +0.83."""
    return ABSENT if _absent(rho) else f"{rho:+.2f}"


def times(factor: float | None) -> str:
    """Return how often one cost is another: 0.96, 7.3, 120 ×."""
    if _absent(factor):
        return ABSENT
    return f"{_number(factor):,.0f} ×" if _number(factor) >= 10 else f"{_number(factor):.2g} ×"


def _absent(number: float | None) -> bool:
    return number is None or math.isnan(number)


def _number(number: float | None) -> float:
    assert number is not None
    return number
