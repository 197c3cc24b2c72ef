"""How many candidates a space of finitely many values has."""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.space.parameters import Constant, Parameter, corners_of, is_active
from search.space.values import Value


def count(ordered: Sequence[Parameter]) -> int:
    """Return the number of different candidates; parameters that conditions do not connect simply multiply."""
    targets = frozenset(condition.target for parameter in ordered for condition in parameter.when)
    return math.prod(count_from(component, targets, {}) for component in _components(ordered))


def count_from(ordered: Sequence[Parameter], targets: frozenset[str], assigned: dict[str, Value]) -> int:
    """Return in how many ways the parameters can be settled, given the values of the `targets` that come before.

    Counts by branching on the parameters that conditions name, and multiplying by the others that are active.
    """
    if not ordered:
        return 1
    parameter, rest = ordered[0], ordered[1:]
    if not is_active(parameter, assigned):
        return count_from(rest, targets, assigned)
    if parameter.name in targets:
        return sum(count_from(rest, targets, {**assigned, parameter.name: value}) for value in corners_of(parameter))
    values = 1 if isinstance(parameter, Constant) else int(parameter.count())
    return values * count_from(rest, targets, assigned)


def _components(ordered: Sequence[Parameter]) -> list[list[Parameter]]:
    """Split the parameters into groups that no condition connects, each in dependency order."""
    leader = {parameter.name: parameter.name for parameter in ordered}
    for parameter in ordered:
        for condition in parameter.when:
            old, new = leader[parameter.name], leader[condition.target]
            leader = {name: new if chief == old else chief for name, chief in leader.items()}
    groups: dict[str, list[Parameter]] = {}
    for parameter in ordered:
        groups.setdefault(leader[parameter.name], []).append(parameter)
    return list(groups.values())
