"""The kinds of parameter a space is made of; each suggests itself, lists its corners and reads its stored form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from search.space.values import Stored, Value, stored

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class Condition:
    """Holds where the parameter `target` (dotted name) is active and has one of `values`."""

    target: str
    values: tuple[Value, ...]

    def holds(self, assigned: Mapping[str, Value]) -> bool:
        """Return whether it holds, given the values of the active parameters that come before."""
        return self.target in assigned and assigned[self.target] in self.values


@dataclass(frozen=True)
class Constant:
    """A value that every candidate has where its conditions hold; Optuna never sees it."""

    name: str
    value: Value
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class IntParameter:
    """A whole number in [low, high], both ends included; uniform, uniform in its logarithm, or in steps from low."""

    name: str
    low: int
    high: int
    log: bool = False
    step: int = 1
    when: tuple[Condition, ...] = ()

    def suggest(self, trial: BaseTrial) -> int:
        """Ask Optuna for a value under the dotted name."""
        return trial.suggest_int(self.name, self.low, self.high, log=self.log, step=self.step)

    def restore(self, value: Stored) -> int:
        """Return the value that Optuna stored; ValueError if the parameter cannot have it."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(f"is not a whole number from {self.low} to {self.high}")
        return value

    def corners(self) -> tuple[int, ...]:
        """Return the two ends of the range, or the one value where they are equal."""
        return tuple(dict.fromkeys((self.low, self.high)))

    def count(self) -> int:
        """Return how many values there are."""
        return (self.high - self.low) // self.step + 1


@dataclass(frozen=True)
class FloatParameter:
    """A number in [low, high], both ends included; uniform, uniform in its logarithm, or in steps from low."""

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: tuple[Condition, ...] = ()

    def suggest(self, trial: BaseTrial) -> float:
        """Ask Optuna for a value under the dotted name."""
        return trial.suggest_float(self.name, self.low, self.high, log=self.log, step=self.step)

    def restore(self, value: Stored) -> float:
        """Return the value that Optuna stored; ValueError if the parameter cannot have it."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(f"is not a number from {self.low} to {self.high}")
        return float(value)

    def corners(self) -> tuple[float, ...]:
        """Return the two ends of the range, or the one value where they are equal."""
        return tuple(dict.fromkeys((self.low, self.high)))

    def count(self) -> int | float:
        """Return how many values there are: infinity for a range without steps."""
        if self.step is None:
            return 1 if self.low == self.high else math.inf
        return round((self.high - self.low) / self.step) + 1


@dataclass(frozen=True)
class ChoiceParameter:
    """One of `values`, in no order; lists are held as tuples and stored as JSON text."""

    name: str
    values: tuple[Value, ...]
    when: tuple[Condition, ...] = ()

    def suggest(self, trial: BaseTrial) -> Value:
        """Ask Optuna for a value under the dotted name."""
        return self.restore(trial.suggest_categorical(self.name, [stored(value) for value in self.values]))

    def restore(self, value: Stored) -> Value:
        """Return the value that Optuna stored; ValueError if the parameter cannot have it."""
        for known in self.values:
            if stored(known) == value:
                return known
        raise ValueError("is not one of its choices")

    def corners(self) -> tuple[Value, ...]:
        """Return every value."""
        return self.values

    def count(self) -> int:
        """Return how many values there are."""
        return len(self.values)


Tunable: TypeAlias = IntParameter | FloatParameter | ChoiceParameter
Parameter: TypeAlias = Constant | Tunable


def is_active(parameter: Parameter, assigned: Mapping[str, Value]) -> bool:
    """Return whether all conditions of the parameter hold, given the values of those it depends on."""
    return all(condition.holds(assigned) for condition in parameter.when)


def corners_of(parameter: Parameter) -> tuple[Value, ...]:
    """Return the values worth checking: every choice, both ends of a range, the value of a constant."""
    return (parameter.value,) if isinstance(parameter, Constant) else parameter.corners()
