"""What a sampler is to the search: the part that it is given, what it cannot do of that, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from dp_core.seeds import derive_seed
from search.space import Parameter, Space


@dataclass(frozen=True)
class Part:
    """The part of a search that a sampler is given: that of one source.

    Attributes:
        space: what it searches, with the source fixed.
        directions: of the objectives.
        trials: how many this source is to have.
        seed: another for every source, the same in every run.
        startup_trials: trials at random before a model takes over.
        known: its trials from before, as its study has them.
    """

    space: Space
    directions: Sequence[StudyDirection]
    trials: int
    seed: int
    startup_trials: int
    known: Sequence[FrozenTrial] = ()

    @property
    def optuna_seed(self) -> int:
        """Seed of what is drawn at random.

        A resumed sampler that started from the run's seed would propose the first trials a second time.
        """
        return derive_seed(self.seed, "sampler", len(self.known)) % 2**32


@dataclass(frozen=True)
class Problem:
    """Why a sampler cannot search: what it says of a parameter, or of the search where that is None."""

    parameter: Parameter | None
    sentence: str


Check: TypeAlias = Callable[[Part], Problem | None]
Build: TypeAlias = Callable[[Part], BaseSampler]


def can_do_all(part: Part) -> None:
    """Return that there is no problem."""


PATIENCE = 3
"""Candidates in a row that a sampler may propose again, before one that is left is taken instead."""


@dataclass(frozen=True)
class Kind:
    """A sampler: how it is made, what it cannot do, and how often in a row it may repeat itself.

    One without `patience` proposes what is left of the space, in a random order; it is asked for the rest of points
    only.
    """

    build: Build
    check: Check = can_do_all
    patience: int = PATIENCE
