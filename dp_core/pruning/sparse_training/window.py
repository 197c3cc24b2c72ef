"""When a mask changes in the course of a training."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.errors import UserError


@dataclass(frozen=True)
class UpdateWindow:
    """Updates every `every` steps from `begin` to `end`, and one at `end`.

    Attributes:
        begin: share of the training's steps after which the first update is made, from 0.
        end: share after which the last one is made, from `begin` to 1. At 1 no step follows it.
        every: optimiser steps between two updates, or below 1 the share of the training that lies between them.
    """

    begin: float
    end: float
    every: float

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= 1 or not 0 <= self.end <= 1:
            raise UserError(
                f"Masks change between a begin and an end that are shares of the training, from 0 to 1, "
                f"not {self.begin:g} and {self.end:g}: a schedule cannot end after the training."
            )
        if self.begin > self.end:
            raise UserError(f"Masks cannot change from {self.begin:g} of the training on until {self.end:g} of it.")
        if self.every <= 0 or (self.every > 1 and self.every != int(self.every)):
            raise UserError(
                f"Masks change every so many whole steps, or every share of the training below 1, not {self.every:g}."
            )

    def first(self, total: int) -> int:
        """Return after which step of `total` the first update is made; at least 1."""
        return max(1, round(self.begin * total))

    def last(self, total: int) -> int:
        """Return after which step of `total` the last update is made; at least 1."""
        return max(1, round(self.end * total))

    def interval(self, total: int) -> int:
        """Return how many steps of `total` lie between two updates; at least 1."""
        return int(self.every) if self.every >= 1 else max(1, round(self.every * total))

    def is_due(self, step: int, total: int) -> bool:
        """Return whether there is an update after `step` steps of `total`."""
        first, last = self.first(total), self.last(total)
        return step == last or (first <= step < last and (step - first) % self.interval(total) == 0)

    def updates(self, step: int, total: int) -> int:
        """Return how many updates there are in the first `step` steps of `total`."""
        first, last = self.first(total), self.last(total)
        before_last = min(step, last - 1)
        regular = 0 if before_last < first else 1 + (before_last - first) // self.interval(total)
        return regular + (step >= last)

    def progress(self, step: int, total: int) -> float:
        """Return how much of the window has passed after `step` steps of `total`, from 0 to 1."""
        first, last = self.first(total), self.last(total)
        return min(max((step - first) / (last - first), 0.0), 1.0) if last > first else float(step >= last)
