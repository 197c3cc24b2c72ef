"""Reading the parameters of a space from the mapping that YAML holds; conditions are read but not yet checked."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from dp_core.errors import nearest
from search.output.wording import show
from search.space.parameters import ChoiceParameter, Condition, Constant, FloatParameter, IntParameter, Parameter
from search.space.place import Place
from search.space.values import Value, freeze, same, stored, thaw

KINDS = ("int", "float", "choice")
OPTIONS = ("log", "step", "when")

Conditions = tuple[Condition, ...]


def read_group(group: Mapping[Any, Any], place: Place, inherited: Conditions = ()) -> Iterator[Parameter]:
    """Yield the parameters under `group` as written; a group's own `when` is handed down to all of them."""
    when = (*inherited, *_read_when(group, place))
    for key, raw in group.items():
        if key == "when":
            continue
        if not isinstance(key, str) or not key or "." in key:
            raise place.mistake(f"has the key {show(key)}, which must be text without a dot: nest groups instead.")
        yield from _read_entry(raw, place.under(key), when, key)


def _read_entry(raw: Any, place: Place, when: Conditions, key: str) -> Iterator[Parameter]:
    if isinstance(raw, Mapping):
        if any(kind in raw for kind in KINDS):
            yield _read_leaf(raw, place, when)
        elif set(raw) <= set(OPTIONS):
            raise place.mistake("is empty: give it one of int, float or choice, or parameters of its own.")
        else:
            yield from read_group(raw, place, when)
    elif isinstance(raw, list | tuple):
        advice = nearest(key, (*KINDS, *OPTIONS))
        raise place.mistake(f"is a list, but a constant is a single value: write {{choice: [{show(raw)}]}}.{advice}")
    else:
        yield Constant(place.name, _read_value(raw, place), when)


def _read_leaf(leaf: Mapping[Any, Any], place: Place, when: Conditions) -> Parameter:
    for key in leaf:
        if key not in (*KINDS, *OPTIONS):
            advice = nearest(str(key), (*KINDS, *OPTIONS))
            raise place.mistake(f"has the unknown key {show(key)} beside its range or choice.{advice}")
    kinds = [kind for kind in KINDS if kind in leaf]
    if len(kinds) > 1:
        raise place.mistake(f"has both {kinds[0]} and {kinds[1]}: keep one.")
    when = (*when, *_read_when(leaf, place))
    if kinds == ["choice"]:
        return _read_choice(leaf, place, when)
    return _read_int(leaf, place, when) if kinds == ["int"] else _read_float(leaf, place, when)


def _read_choice(leaf: Mapping[Any, Any], place: Place, when: Conditions) -> ChoiceParameter:
    for option in ("log", "step"):
        if option in leaf:
            raise place.mistake(f"has {option}, which goes with int or float, not with choice.")
    raw = leaf["choice"]
    if not isinstance(raw, list | tuple):
        raise place.mistake(f"needs a list for choice, such as [{show(raw)}], not {show(raw)}.")
    if not raw:
        raise place.mistake("has an empty choice: list at least one value.")
    values = tuple(_read_value(item, place) for item in raw)
    for one, other in itertools.combinations(values, 2):
        if same(one, other):
            raise place.mistake(f"lists {show(thaw(one))} twice.")
        # Python and Optuna find a choice by ==, for which true is 1; a list is stored as text.
        if one == other or stored(one) == stored(other):
            raise place.mistake(f"lists {show(thaw(one))} and {show(thaw(other))}, which Optuna cannot tell apart.")
    return ChoiceParameter(place.name, values, when)


def _read_int(leaf: Mapping[Any, Any], place: Place, when: Conditions) -> IntParameter:
    low, high = (_whole(bound, place, "bounds") for bound in _bounds(leaf, "int", place))
    log = _read_log(leaf, low, place)
    step = 1
    if leaf.get("step") is not None:
        step = _whole(_number(leaf["step"], place, "step"), place, "step")
        _check_step(leaf, low, high, step, place)
    return IntParameter(place.name, low, high, log, step, when)


def _read_float(leaf: Mapping[Any, Any], place: Place, when: Conditions) -> FloatParameter:
    low, high = (float(bound) for bound in _bounds(leaf, "float", place))
    log = _read_log(leaf, low, place)
    step = None
    if leaf.get("step") is not None:
        step = float(_number(leaf["step"], place, "step"))
        _check_step(leaf, low, high, step, place)
    return FloatParameter(place.name, low, high, log, step, when)


def _bounds(leaf: Mapping[Any, Any], kind: str, place: Place) -> tuple[int | float, int | float]:
    raw = leaf[kind]
    if not isinstance(raw, list | tuple) or len(raw) != 2:
        raise place.mistake(f"needs two bounds, {kind}: [low, high], not {show(raw)}.")
    low, high = (_number(bound, place, "bounds") for bound in raw)
    if low > high:
        raise place.mistake(f"has its low bound {show(low)} above its high bound {show(high)}.")
    return low, high


def _number(raw: Any, place: Place, what: str) -> int | float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not abs(raw) <= sys.float_info.max:
        raise place.mistake(f"has {show(raw)} in its {what}, which must be finite numbers.")
    return raw


def _whole(number: int | float, place: Place, what: str) -> int:
    if number != int(number):
        raise place.mistake(f"is an int but has {show(number)} in its {what}: use whole numbers, or float.")
    return int(number)


def _read_log(leaf: Mapping[Any, Any], low: float, place: Place) -> bool:
    log = leaf.get("log", False)
    if not isinstance(log, bool):
        raise place.mistake(f"needs true or false for log, not {show(log)}.")
    if log and low <= 0:
        raise place.mistake(f"has log: true, for which its low bound must be above 0, not {show(low)}.")
    return log


def _check_step(leaf: Mapping[Any, Any], low: float, high: float, step: float, place: Place) -> None:
    if leaf.get("log"):
        raise place.mistake("has both log and step: keep one.")
    if step <= 0:
        raise place.mistake(f"needs a step above 0, not {show(step)}.")
    # Decimals of the written digits, as Optuna counts them: it would silently lower `high` to the last step.
    try:
        left = (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step))
    except InvalidOperation:
        raise place.mistake(f"has a step of {show(step)}, which is too small for its range.") from None
    if left:
        last = type(high)(Decimal(str(high)) - left)
        raise place.mistake(f"cannot reach its high bound {show(high)} in steps of {show(step)}: the last is {last}.")


def _read_value(raw: Any, place: Place) -> Value:
    try:
        return freeze(raw)
    except TypeError as error:
        allowed = "text, a finite number, true, false, null or, in a choice, a list of those"
        raise place.mistake(f"has {error} for a value ({show(raw)}), which must be {allowed}.") from None


def _read_when(mapping: Mapping[Any, Any], place: Place) -> Iterator[Condition]:
    """Yield the conditions under `when`; each still holds the values as written, list or not, as its only value."""
    if "when" not in mapping:
        return
    raw = mapping["when"]
    if not isinstance(raw, Mapping) or not raw:
        raise place.mistake(f"needs conditions under when, such as {{some.parameter: value}}, not {show(raw)}.")
    for target, values in raw.items():
        if isinstance(values, Mapping) and values:  # `recipe: {optimizer: sgd}` for `recipe.optimizer: sgd`
            nested = {"when": {f"{target}.{key}": value for key, value in values.items()}}
            yield from _read_when(nested, place)
        else:
            yield Condition(str(target), (_read_value(values, place),))
