"""How times are told."""

from __future__ import annotations

import pytest

from search.output.wording import about


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (2.34, 9.96, "about 2.3 to 10 s"),
        (40, 90, "about 40 to 90 s"),
        (100, 230, "about 1.7 to 3.8 minutes"),
        (3000, 5000, "about 50 to 83 minutes"),
        (5000, 20000, "about 1.4 to 5.6 hours"),
        (7.1, 7.12, "about 7.1 s"),
    ],
)
def test_a_range_is_in_the_unit_of_its_end(low: float, high: float, words: str) -> None:
    assert about(low, high) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.3, "about 0.3 s"), (99, "about 99 s"), (600, "about 10 minutes")])
def test_one_time(seconds: float, words: str) -> None:
    assert about(seconds) == words
