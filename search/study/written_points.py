"""Points of a space as people write them: nested or dotted names, and values as in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dp_core.errors import nearest
from search.output.wording import show
from search.space import Constant, FloatParameter, IntParameter, Parameter
from search.space.place import Place
from search.space.values import Value, freeze, same, stored, thaw


def flattened(tree: Mapping[Any, Any], place: Place) -> dict[str, Any]:
    """Return the values by dotted name; groups may be nested or written with dots."""
    flat: dict[str, Any] = {}
    for key, entry in tree.items():
        under = place.under(str(key))
        entries = flattened(entry, under) if isinstance(entry, Mapping) else {under.name: entry}
        for name, value in entries.items():
            if name in flat:
                raise Place(place.where, name).mistake("is given twice.")
            flat[name] = value
    return flat


def value_of(parameter: Parameter, raw: Any) -> Value:
    """Return the value as the space has it; ValueError, continuing 'which', if the parameter cannot have it."""
    try:
        value = freeze(raw)
    except TypeError as error:
        raise ValueError(f"is {error}.") from None
    if isinstance(parameter, IntParameter | FloatParameter):
        return _number(parameter, value)
    options = (parameter.value,) if isinstance(parameter, Constant) else parameter.values
    for option in options:
        if same(option, value):
            return option
    if isinstance(parameter, Constant):
        raise ValueError(f"is not its constant {show(thaw(parameter.value))}.")
    advice = nearest(value, [option for option in options if isinstance(option, str)]) if isinstance(value, str) else ""
    raise ValueError(f"is not one of its choices {show([thaw(option) for option in options])}.{advice}")


def _number(parameter: IntParameter | FloatParameter, value: Value) -> int | float:
    try:
        number = parameter.restore(stored(value))
    except ValueError as error:
        raise ValueError(f"{error}.") from None
    steps = 0.0 if parameter.step is None else (number - parameter.low) / parameter.step
    if abs(steps - round(steps)) > 1e-8:  # Optuna's tolerance
        raise ValueError(f"is not in steps of {show(parameter.step)} from {show(parameter.low)}.")
    return number
