"""Assignments that reach every choice and both ends of every range, for checking a space before a run."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence

from search.space.conditions import Requirements
from search.space.parameters import Parameter, corners_of, is_active
from search.space.values import Value

Assignment = dict[str, Value]

DRAWS_PER_CORNER = 20
"""How often to draw, for each assignment still wanted, before settling for fewer: draws repeat themselves."""


def assignments(ordered: Sequence[Parameter], needs: Requirements, limit: int, seed: int) -> Iterator[Assignment]:
    """Yield flat assignments of the active parameters, none twice; see `Space.corners` for which."""
    every = list(itertools.islice(_product(ordered, {}), limit + 1))
    if len(every) <= limit:
        yield from every
        return
    # A key tells assignments apart: Python takes 1 for true, but the two never meet within one parameter.
    found = {tuple(assignment.items()): assignment for assignment in _one_at_a_time(ordered, needs)}
    generator = random.Random(seed)
    for _ in range(DRAWS_PER_CORNER * limit):
        if len(found) >= limit:
            break
        assignment = _random(ordered, generator)
        found.setdefault(tuple(assignment.items()), assignment)
    yield from found.values()


def _product(ordered: Sequence[Parameter], assigned: Assignment) -> Iterator[Assignment]:
    if not ordered:
        yield dict(assigned)
        return
    parameter, rest = ordered[0], ordered[1:]
    if not is_active(parameter, assigned):
        yield from _product(rest, assigned)
        return
    for value in corners_of(parameter):
        yield from _product(rest, {**assigned, parameter.name: value})


def _one_at_a_time(ordered: Sequence[Parameter], needs: Requirements) -> Iterator[Assignment]:
    for parameter in ordered:
        enabled = {target: values[0] for target, values in needs[parameter.name].items()}
        for value in corners_of(parameter):
            yield _fill(ordered, {**enabled, parameter.name: value})


def _fill(ordered: Sequence[Parameter], pinned: Mapping[str, Value]) -> Assignment:
    """Return the assignment with the pinned values, and everything else that is then active at its first corner."""
    assigned: Assignment = {}
    for parameter in ordered:
        if is_active(parameter, assigned):
            assigned[parameter.name] = pinned.get(parameter.name, corners_of(parameter)[0])
    return assigned


def _random(ordered: Sequence[Parameter], generator: random.Random) -> Assignment:
    assigned: Assignment = {}
    for parameter in ordered:
        if is_active(parameter, assigned):
            assigned[parameter.name] = generator.choice(corners_of(parameter))
    return assigned
