"""The candidates of a space that have not been proposed yet."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Container, Mapping
from typing import Any, TypeAlias

import optuna

from search.space import Space
from search.space.values import Stored

DRAWS = 100
"""Random candidates in a row, all of them known, after which a space counts as used up."""

Params: TypeAlias = Mapping[str, Stored]
Identify: TypeAlias = Callable[[Mapping[str, Any]], str]
"""Returns what equal candidates, nested as the space has them, have in common."""


class Untried:
    """What is left of a space: a list, in a random order, if it is small, and else what random draws find.

    A small space is counted exactly: points that come to the same training are one candidate. A large one is never
    used up in practice, but for one whose parameters hardly matter, such as a momentum for Adam.

    Args:
        space: of which.
        identify: tells candidates apart.
        known: what has been proposed, by identity; it grows while this looks on, see `forget`.
        most: points up to which a space is small.
        seed: of the order and the draws.
    """

    def __init__(self, space: Space, identify: Identify, known: Container[str], *, most: int, seed: int) -> None:
        self._space, self._identify, self._known, self._seed = space, identify, known, seed
        self._drawn: tuple[str, Params] | None = None
        self._dry = False
        self._listed = self._all() if space.size() <= most else None
        self.total: int | float = math.inf if self._listed is None else len(self._listed)
        """How many candidates the space has: infinity for one that is not small."""
        for identity in [identity for identity in self._listed or () if identity in known]:
            self.forget(identity)

    def _all(self) -> dict[str, Params]:
        points = [self._space.candidate_at(index) for index in range(int(self._space.size()))]
        random.Random(self._seed).shuffle(points)
        return {self._identify(self._space.nest(point)): point for point in reversed(points)}

    def forget(self, identity: str) -> None:
        """Take note that a candidate has been proposed."""
        if self._listed is not None:
            self._listed.pop(identity, None)

    @property
    def left(self) -> int | float:
        """How many candidates are left: of a large space infinity, until `one` has found nothing."""
        return (0 if self._dry else math.inf) if self._listed is None else len(self._listed)

    def one(self) -> Params | None:
        """Return the parameters of a candidate that has not been proposed, as Optuna stores them; None for no more."""
        if self._listed is not None:
            return next(iter(self._listed.values()), None)
        if not self._dry and (self._drawn is None or self._drawn[0] in self._known):
            self._drawn = self._new_draw()
            self._dry = self._drawn is None
        return None if self._drawn is None else self._drawn[1]

    def _new_draw(self) -> tuple[str, Params] | None:
        self._seed += 1
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self._seed % 2**32))
        for _ in range(DRAWS):
            trial = study.ask()
            identity = self._identify(self._space.suggest(trial))
            if identity not in self._known:
                return identity, trial.params
        return None
