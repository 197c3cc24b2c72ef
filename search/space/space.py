"""A search space: which parameters a candidate has, when, and the ways to draw, check and restore one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.trial import FixedTrial

from search.output.wording import show
from search.space.conditions import Requirements, in_dependency_order, link, requirements
from search.space.corners import assignments
from search.space.counting import count
from search.space.enumeration import candidate_at
from search.space.parameters import ChoiceParameter, Constant, Parameter, is_active
from search.space.parsing import read_group
from search.space.place import Place
from search.space.values import Stored, Value, thaw

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class Space:
    """A checked search space; make one with `Space.parse`.

    `parameters` are in the order they were written, `ordered` so that each follows those its conditions name; `notes`
    has a sentence about each that was left out, as what it waits for never comes.
    """

    parameters: tuple[Parameter, ...]
    ordered: tuple[Parameter, ...] = field(repr=False)
    needs: Requirements = field(repr=False, compare=False, hash=False)
    where: str = field(compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, mapping: Mapping[str, Any], where: str = "space") -> Space:
        """Read a space from nested mappings.

        A leaf is a constant or a mapping with one of `int: [low, high]`, `float: [low, high]` or `choice: […]`, and
        perhaps `log`, `step` and `when: {dotted.name: value or [values]}`; a group may carry `when` for all under it.
        A condition on values that the parameter never takes, as it was made a constant or lost some of its choices,
        never holds: what waits for it is left out of the space.

        Args:
            mapping: the space as YAML holds it.
            where: what sentences about mistakes begin with, such as `configs/x.yaml: space`.

        Raises:
            UserError: anything wrong with the space, naming the parameter.
        """
        if not isinstance(mapping, Mapping):
            raise Place(where).mistake(f"must be a mapping of names to parameters, not {show(mapping)}.")
        linked = link(tuple(read_group(mapping, Place(where))), where)
        if all(isinstance(parameter, Constant) for parameter in linked.parameters):
            raise Place(where).mistake("has nothing to search: give some parameter an int, a float or a choice.")
        ordered = in_dependency_order(linked.parameters, where)
        return cls(linked.parameters, ordered, requirements(ordered, where), where, linked.notes)

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """Ask Optuna for a candidate: its active parameters and constants, nested as the space is written.

        The trial's parameters have the dotted names; one whose conditions do not hold is never asked for.
        """
        values: dict[str, Value] = {}
        for parameter in self.ordered:
            if is_active(parameter, values):
                drawn = parameter.value if isinstance(parameter, Constant) else parameter.suggest(trial)
                values[parameter.name] = drawn
        return self._nested(values)

    def nest(self, params: Mapping[str, Stored]) -> dict[str, Any]:
        """Return the candidate that Optuna stored as `params` (`trial.params`), as `suggest` returned it.

        Raises:
            UserError: the parameters do not belong to this space, as after an edit of it between two runs.
        """
        values: dict[str, Value] = {}
        for parameter in self.ordered:
            if not is_active(parameter, values):
                continue
            if isinstance(parameter, Constant):
                values[parameter.name] = parameter.value
                continue
            place = Place(self.where, parameter.name)
            if parameter.name not in params:
                raise place.mistake("is missing from a stored trial: was the space changed since?")
            try:
                values[parameter.name] = parameter.restore(params[parameter.name])
            except ValueError as error:
                value = show(params[parameter.name])
                raise place.mistake(f"was stored as {value}, which {error}: was the space changed since?") from None
        for name in params:
            if name not in values:
                raise Place(self.where, name).mistake("is in a stored trial but not in the space: was that changed?")
        return self._nested(values)

    def distributions(self, params: Mapping[str, Stored]) -> dict[str, BaseDistribution]:
        """Return the distributions of `params` (`trial.params`), by name, as `suggest` asks Optuna for them.

        Raises:
            UserError: the parameters do not belong to this space.
        """
        self.nest(params)
        trial = FixedTrial(dict(params))
        self.suggest(trial)
        return trial.distributions

    def corners(self, limit: int = 512, seed: int = 0) -> Iterator[dict[str, Any]]:
        """Yield candidates to check before a run starts, nested as `suggest` returns them, none twice.

        All combinations of choices and range ends if there are at most `limit`. Else every parameter at each of its
        values with the others at their first where conditions allow (all of these, even beyond `limit`), then random
        combinations, drawn with `seed`, up to `limit`.
        """
        return (self._nested(values) for values in assignments(self.ordered, self.needs, limit, seed))

    def size(self) -> int | float:
        """Return how many different candidates there are: `math.inf` with any range of floats that has no step."""
        sizes = [1 if isinstance(parameter, Constant) else parameter.count() for parameter in self.ordered]
        return math.inf if math.inf in sizes else count(self.ordered)

    def candidate_at(self, index: int) -> dict[str, Stored]:
        """Return the parameters of candidate `index` of a finite space, from 0 to `size() - 1`, as Optuna stores them.

        Every candidate has one number, and the same number as long as the space is written the same. Constants and
        parameters whose conditions do not hold are left out, as they are from `trial.params`.
        """
        if not 0 <= index < self.size() < math.inf:
            raise IndexError(f"there is no candidate {index} of {self.size()}")
        return candidate_at(self.ordered, index)

    def fixed(self, name: str, value: Value) -> Space:
        """Return the part of the space in which the choice `name` has this value, without what is never active there.

        The choice itself becomes a constant.
        """
        kept = tuple(
            Constant(name, value, parameter.when)
            if parameter.name == name and isinstance(parameter, ChoiceParameter)
            else parameter
            for parameter in self.parameters
            if value in self.needs[parameter.name].get(name, (value,))
        )
        ordered = in_dependency_order(kept, self.where)
        return Space(kept, ordered, requirements(ordered, self.where), self.where, self.notes)

    def _nested(self, values: Mapping[str, Value]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in values:
                *groups, last = parameter.name.split(".")
                group = tree
                for name in groups:
                    group = group.setdefault(name, {})
                group[last] = thaw(values[parameter.name])
        return tree
