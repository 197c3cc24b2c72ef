"""Checking the conditions of a space, and the order in which its parameters can be settled.

A config is written once and changed on the command line, so what a condition waits for may have been taken out of the
space since: such values never come, and a parameter that waits for nothing else is not in the space.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from dp_core.errors import nearest, nearest_word
from search.output.wording import show
from search.space.parameters import ChoiceParameter, Condition, Constant, Parameter
from search.space.place import Place
from search.space.values import Value, same, thaw

Requirements = Mapping[str, Mapping[str, tuple[Value, ...]]]


@dataclasses.dataclass(frozen=True)
class Linked:
    """Parameters with checked conditions that hold the very values of those they name.

    Attributes:
        parameters: those that can be active, in the order they were written; a condition that always holds is gone.
        notes: a sentence about each that can not.
    """

    parameters: tuple[Parameter, ...]
    notes: tuple[str, ...]


def link(parameters: Sequence[Parameter], where: str) -> Linked:
    """Check every condition against the parameter that it names, and settle what is settled whatever is drawn."""
    by_name = {parameter.name: parameter for parameter in parameters}
    for parameter in parameters:
        for condition in parameter.when:
            _check_target(condition, by_name, Place(where, parameter.name))
    linked: dict[str, Parameter] = {}
    absent: dict[str, str] = {}
    for parameter in in_dependency_order(parameters, where):
        conditions: list[Condition] = []
        for condition in parameter.when:
            if condition.target in absent:
                absent.setdefault(parameter.name, f"waits for '{condition.target}', which is not there either")
                continue
            target = linked[condition.target]
            options = _options(target)
            wanted = _wanted(condition, options, target, Place(where, parameter.name))
            found = tuple(option for option in options if any(same(value, option) for value in wanted))
            if not found:
                absent.setdefault(parameter.name, _never(condition.target, wanted, options))
            elif len(found) == len(options):
                conditions.extend(target.when)  # it holds wherever its target is there
            else:
                conditions.append(Condition(target.name, found))
        if parameter.name not in absent:
            linked[parameter.name] = dataclasses.replace(parameter, when=tuple(dict.fromkeys(conditions)))
    kept = tuple(linked[parameter.name] for parameter in parameters if parameter.name in linked)
    notes = tuple(f"'{name}' is left out of the space: it {absent[name]}." for name in by_name if name in absent)
    return Linked(kept, notes)


def _check_target(condition: Condition, by_name: Mapping[str, Parameter], place: Place) -> None:
    target = by_name.get(condition.target)
    if target is None:
        advice = nearest(condition.target, by_name)
        raise place.mistake(f"has a when that names the unknown parameter '{condition.target}'.{advice}")
    if not isinstance(target, ChoiceParameter | Constant):
        raise place.mistake(f"has a when on '{target.name}', which is a range: only a choice or a constant will do.")


def _options(target: Parameter) -> tuple[Value, ...]:
    assert isinstance(target, ChoiceParameter | Constant)
    return target.values if isinstance(target, ChoiceParameter) else (target.value,)


def _wanted(condition: Condition, options: tuple[Value, ...], target: Parameter, place: Place) -> tuple[Value, ...]:
    """Return the values that a condition waits for, none of which is a value of its target misspelt."""
    (written,) = condition.values
    # A list is a list of values, unless the target's values are lists and this is one of them.
    is_list = isinstance(written, tuple) and not any(same(written, option) for option in options)
    wanted = written if is_list and isinstance(written, tuple) else (written,)
    if not wanted:
        raise place.mistake(f"has an empty list of values for '{target.name}' under when.")
    if isinstance(target, Constant):
        return wanted  # there is nothing to misspell: the value was set in the place of a choice
    missed = [option for option in options if not any(same(value, option) for value in wanted)]
    for value in wanted:
        if not any(same(value, option) for option in options) and (meant := _meant(value, missed)) is not None:
            takes = f"which '{target.name}' never takes (it takes {show([thaw(option) for option in options])})"
            raise place.mistake(
                f"has a when that waits for {show(thaw(value))}, {takes}. Did you mean {show(thaw(meant))}?"
            )
    return wanted


def _never(name: str, wanted: Sequence[Value], options: Sequence[Value]) -> str:
    waits = f"waits for {name} = {' or '.join(show(thaw(value)) for value in wanted)}"
    only = f"always {show(thaw(options[0]))}" if len(options) == 1 else f"one of {show([thaw(o) for o in options])}"
    return f"{waits}, but {name} is {only}"


def _meant(value: Value, options: Sequence[Value]) -> Value:
    """Return the option that is written almost or, as another type, just like `value`; None if there is none."""
    alike = [option for option in options if option == value or _text(option) == _text(value)]
    if alike:
        return alike[0]
    words = [option for option in options if isinstance(option, str)]
    return nearest_word(value, words) if isinstance(value, str) else None


def _text(value: Value) -> str:
    return json.dumps(thaw(value)).strip('"').casefold()


def in_dependency_order(parameters: Sequence[Parameter], where: str) -> tuple[Parameter, ...]:
    """Return the parameters so that each follows those its conditions name; UserError if they go in a circle."""
    by_name = {parameter.name: parameter for parameter in parameters}
    graph = {name: [condition.target for condition in p.when] for name, p in by_name.items()}
    try:
        return tuple(by_name[name] for name in TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle: list[str] = error.args[1][::-1]  # graphlib lists each before what depends on it
        chain = " on ".join(f"'{name}'" for name in circle)
        raise Place(where, circle[0]).mistake(f"depends on itself through when: {chain}.") from None


def requirements(ordered: Sequence[Parameter], where: str) -> Requirements:
    """Return, for every parameter, the values that others must have for it to be active, through all conditions.

    Raises:
        UserError: the conditions of a parameter contradict one another, so that it can never be active.
    """
    found: dict[str, dict[str, tuple[Value, ...]]] = {}
    for parameter in ordered:
        needed: dict[str, tuple[Value, ...]] = {}
        for condition in parameter.when:
            for target, values in [*found[condition.target].items(), (condition.target, condition.values)]:
                needed[target] = tuple(value for value in needed.get(target, values) if value in values)
                if not needed[target]:
                    problem = f"can never be active: its conditions on '{target}' contradict each other."
                    raise Place(where, parameter.name).mistake(problem)
        found[parameter.name] = needed
    return found
