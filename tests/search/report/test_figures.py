"""What the figures of the report show on their axes."""

from __future__ import annotations

import pytest

from search.report.plotting import whole_numbers


@pytest.mark.parametrize(
    ("values", "step"), [([], 1), ([1, 2, 3], 1), ([1, 10], 1), ([1, 14], 2), ([3, 40], 5), ([0, 700], 100)]
)
def test_an_axis_of_whole_numbers_has_no_tick_between_two(values: list[int], step: int) -> None:
    ticks = whole_numbers(values)
    assert (ticks["dtick"], ticks["tickformat"]) == (step, "d")
