"""Checking the conditions of a space, and the order in which its parameters can be settled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from dp_core.errors import nearest
from search.space.parameters import ChoiceParameter, Condition, Constant, Parameter
from search.space.place import Place
from search.space.values import Value, same, thaw
from search.wording import show

Requirements = Mapping[str, Mapping[str, tuple[Value, ...]]]


def link(parameters: Sequence[Parameter], where: str) -> tuple[Parameter, ...]:
    """Return the parameters with every condition checked against its target and holding the target's own values."""
    by_name = {parameter.name: parameter for parameter in parameters}
    return tuple(
        dataclasses.replace(
            parameter,
            when=tuple(_link_one(condition, by_name, Place(where, parameter.name)) for condition in parameter.when),
        )
        for parameter in parameters
    )


def _link_one(condition: Condition, by_name: Mapping[str, Parameter], place: Place) -> Condition:
    target = by_name.get(condition.target)
    if target is None:
        advice = nearest(condition.target, by_name)
        raise place.mistake(f"has a when that names the unknown parameter '{condition.target}'.{advice}")
    if not isinstance(target, ChoiceParameter | Constant):
        raise place.mistake(f"has a when on '{target.name}', which is a range: only a choice or a constant will do.")
    options = target.values if isinstance(target, ChoiceParameter) else (target.value,)
    (written,) = condition.values
    # A list is a list of values, unless the target's values are lists and this is one of them.
    is_list = isinstance(written, tuple) and not any(same(written, option) for option in options)
    wanted = written if is_list and isinstance(written, tuple) else (written,)
    if not wanted:
        raise place.mistake(f"has an empty list of values for '{target.name}' under when.")
    for value in wanted:
        if not any(same(value, option) for option in options):
            words = [option for option in options if isinstance(option, str)]
            advice = nearest(value, words) if isinstance(value, str) else ""
            takes = f"which '{target.name}' never takes (it takes {show([thaw(option) for option in options])})"
            raise place.mistake(f"has a when that waits for {show(thaw(value))}, {takes}.{advice}")
    return Condition(target.name, tuple(o for o in options if any(same(value, o) for value in wanted)))


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
