"""A rung of successive halving with one objective: what was seen there, and whether a newcomer is among the best."""

from __future__ import annotations

from bisect import insort
from typing import Protocol


class Rung(Protocol):
    """Everything that was seen at one point of comparison."""

    def promising(self, gains: tuple[float, ...]) -> bool:
        """Take in gains [M], none of them NaN, and return whether they are among the best one in so many seen here."""
        ...


def places(seen: int, reduction_factor: int) -> int:
    """Return how many of those seen at a rung go on; before there are enough for one, the best does."""
    return max(seen // reduction_factor, 1)


class SortedRung:
    """A rung of one objective, kept sorted; a newcomer as good as the last that goes on goes on as well."""

    def __init__(self, reduction_factor: int) -> None:
        self._reduction_factor = reduction_factor
        self._gains: list[float] = []

    def promising(self, gains: tuple[float, ...]) -> bool:
        """See Rung."""
        (gain,) = gains
        insort(self._gains, gain)
        return gain >= self._gains[-places(len(self._gains), self._reduction_factor)]
