"""Candidates by number: which of a space's finitely many candidates is the first, the second and so on."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from search.space.counting import count_from
from search.space.parameters import ChoiceParameter, Constant, FloatParameter, IntParameter, Parameter, is_active
from search.space.values import Stored, Value, stored


def candidate_at(ordered: Sequence[Parameter], index: int) -> dict[str, Stored]:
    """Return the active parameters, without constants, of candidate `index` (from 0), as Optuna stores them."""
    targets = frozenset(condition.target for parameter in ordered for condition in parameter.when)
    assigned: dict[str, Value] = {}
    found: dict[str, Stored] = {}
    for place, parameter in enumerate(ordered):
        if not is_active(parameter, assigned):
            continue
        if isinstance(parameter, Constant):
            assigned[parameter.name] = parameter.value
            continue
        rest = ordered[place + 1 :]
        if parameter.name in targets:
            assigned[parameter.name], index = _branch(parameter, rest, targets, assigned, index)
        else:
            digit, index = divmod(index, count_from(rest, targets, assigned))
            assigned[parameter.name] = _value(parameter, digit)
        found[parameter.name] = stored(assigned[parameter.name])
    return found


def _branch(
    parameter: Parameter, rest: Sequence[Parameter], targets: frozenset[str], assigned: dict[str, Value], index: int
) -> tuple[Value, int]:
    """Return the value under which candidate `index` lies, and its number among those of that value."""
    if not isinstance(parameter, ChoiceParameter):
        raise TypeError(f"{parameter.name} is not a choice")
    for value in parameter.values:
        under = count_from(rest, targets, {**assigned, parameter.name: value})
        if index < under:
            return value, index
        index -= under
    raise IndexError("beyond the last candidate")


def _value(parameter: Parameter, digit: int) -> Value:
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[digit]
    if isinstance(parameter, IntParameter):
        return parameter.low + digit * parameter.step
    if isinstance(parameter, FloatParameter):
        # Decimals of the written digits, as Optuna counts steps: 0.1 + 2 × 0.1 is 0.3.
        return float(Decimal(str(parameter.low)) + digit * Decimal(str(parameter.step or 0)))
    raise TypeError(f"{parameter.name} is a constant")
