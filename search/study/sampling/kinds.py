"""What a sampler is to the search: what it cannot do, and how it is made for the trials of one source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from optuna.samplers import BaseSampler

from dp_core.seeds import derive_seed
from search.space import Parameter, Space
from search.study.sampling.strata import SourceStudy


@dataclass(frozen=True)
class Plan:
    """What a sampler is asked to do.

    Attributes:
        space: what it searches, with the source fixed.
        objectives: how many there are.
        trials: how many of them this source is to have.
        known_trials: how many the study had before, of all sources.
        seed: another for every source, the same in every run.
        startup_trials: trials at random before a model takes over.
    """

    space: Space
    objectives: int
    trials: int
    known_trials: int
    seed: int
    startup_trials: int

    @property
    def optuna_seed(self) -> int:
        """Seed of what is drawn at random.

        A resumed sampler that started from the run's seed would propose the first trials a second time.
        """
        return derive_seed(self.seed, "sampler", self.known_trials) % 2**32


@dataclass(frozen=True)
class Problem:
    """Why a sampler cannot search: what it says of a parameter, or of the search where that is None."""

    parameter: Parameter | None
    sentence: str


Check: TypeAlias = Callable[[Plan], Problem | None]
Build: TypeAlias = Callable[[Plan, SourceStudy], BaseSampler]


def can_do_all(plan: Plan) -> None:
    """Return that there is no problem."""


@dataclass(frozen=True)
class Kind:
    """A sampler: what it cannot do, and how it is made; the history is the study that every call will be about."""

    build: Build
    check: Check = can_do_all
