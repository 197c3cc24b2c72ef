"""What parts of a space samplers cannot do."""

from __future__ import annotations

import math

from search.space import ChoiceParameter, Constant, Parameter
from search.study.sampling import evolution
from search.study.sampling.kinds import Part, Problem


def needs_no_conditions(part: Part) -> Problem | None:
    """Return the first parameter that not every candidate has."""
    settled = {parameter.name for parameter in part.space.parameters if _single(parameter)}
    for parameter in part.space.parameters:
        if not _single(parameter) and any(condition.target not in settled for condition in parameter.when):
            return Problem(parameter, "is conditional (when)")
    return None


def needs_numbers(part: Part) -> Problem | None:
    """Return what CMA-ES cannot do: several objectives, choices and conditional parameters."""
    if len(part.directions) > 1:
        return Problem(None, "cannot search for several objectives (search.objectives)")
    if not evolution.is_installed():
        return Problem(None, "needs the package cmaes: install it with pip install cmaes")
    for parameter in part.space.parameters:
        if isinstance(parameter, ChoiceParameter) and not _single(parameter):
            return Problem(parameter, "is a choice")
    return needs_no_conditions(part)


def needs_finiteness(part: Part) -> Problem | None:
    """Return the first range of numbers without a step."""
    for parameter in part.space.parameters:
        if not isinstance(parameter, Constant) and parameter.count() == math.inf:
            return Problem(parameter, "is a range without a step")
    return None


def _single(parameter: Parameter) -> bool:
    return isinstance(parameter, Constant) or parameter.count() == 1
