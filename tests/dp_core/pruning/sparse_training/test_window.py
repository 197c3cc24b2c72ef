from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_core.errors import UserError
from dp_core.pruning import UpdateWindow


@pytest.mark.parametrize(
    ("window", "total", "updates"),
    [
        (UpdateWindow(0.2, 0.8, 3), 20, [4, 7, 10, 13, 16]),
        (UpdateWindow(0.2, 0.8, 5), 20, [4, 9, 14, 16]),  # the last one is made whatever the interval
        (UpdateWindow(0.0, 0.5, 0.1), 40, [1, 5, 9, 13, 17, 20]),  # after step 0 there is nothing yet to decide by
        (UpdateWindow(0.5, 0.5, 1), 9, [4]),
        (UpdateWindow(0.0, 1.0, 100), 10, [1, 10]),
        (UpdateWindow(0.0, 0.0, 1), 10, [1]),
        (UpdateWindow(0.1, 0.9, 0.001), 5, [1, 2, 3, 4]),  # a share of less than a step is a step
    ],
)
def test_updates_come_at_these_steps(window: UpdateWindow, total: int, updates: list[int]) -> None:
    assert [step for step in range(1, total + 1) if window.is_due(step, total)] == updates


@given(
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    every=st.one_of(st.integers(1, 60), st.floats(0.01, 0.99)),
    total=st.integers(1, 60),
)
def test_updates_are_counted_and_progress_goes_from_0_to_1(
    shares: tuple[float, float], every: float, total: int
) -> None:
    window = UpdateWindow(min(shares), max(shares), every)
    counted = 0
    for step in range(1, total + 1):
        counted += window.is_due(step, total)
        assert window.updates(step, total) == counted
        assert window.progress(step, total) >= window.progress(step - 1, total)
    assert counted >= 1
    assert window.progress(window.last(total), total) == 1
    assert window.last(total) == window.first(total) or window.progress(window.first(total), total) == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((0.1, 1.2, 10), "a schedule cannot end after the training"),
        ((-0.1, 0.5, 10), "shares of the training, from 0 to 1, not -0.1 and 0.5"),
        ((0.6, 0.5, 10), "from 0.6 of the training on until 0.5 of it"),
        ((0.1, 0.5, 0), "not 0"),
        ((0.1, 0.5, 2.5), "not 2.5"),
    ],
)
def test_a_window_that_cannot_be_is_refused(settings: tuple[float, float, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        UpdateWindow(*settings)
