"""The contract of a kind of run: what one life cycle (`search.runs.life_cycle`) needs to know of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from search.config.meaning import Meaning
from search.config.sections import RunConfig
from search.runs.changes import Change, Key
from search.runs.directory import RunDirectory
from search.runs.progress import Progress

if TYPE_CHECKING:
    from dp_core.data import Splits
    from dp_core.distillation import DistilledSet
    from search.runs.estimate import Estimate

Row = Mapping[str, Any]


class Prepared(Protocol):
    """A config that has been found sound, with the images."""

    @property
    def config(self) -> Any:
        """The config."""

    @property
    def splits(self) -> Splits:
        """The images."""


@dataclass(frozen=True)
class Fact:
    """Something that a run rests on and that must be the same whenever it goes on.

    Attributes:
        name: its key in run.yaml.
        value: as plain data.
        what: what it is, in a sentence.
        where: where it is from.
        by_config: whether a change of the config that was allowed may have changed it.
    """

    name: str
    value: Any
    what: str
    where: str
    by_config: bool = False


C = TypeVar("C", bound=RunConfig)
P = TypeVar("P", bound=Prepared)


class Kind(ABC, Generic[C, P]):
    """A kind of run: how its config is checked, what it does with it, and what can be said of it.

    Everything else, such as locks, changed configs, Ray and what is left half-written, is the life cycle's.
    """

    config: ClassVar[type[RunConfig]]
    """Its config, which has its name."""

    def settled(self, config: C) -> C:
        """Return the config with addresses that are not paths, such as a database's, the same from every folder."""
        return config

    @abstractmethod
    def prepare(self, config: C, run: RunDirectory, where: str, *, local: bool) -> P:
        """Check `config`, read from `where`, against itself, the data and (if jobs run here: `local`) the machine.

        Nothing is written.

        Raises:
            UserError: the first thing that cannot work.
        """

    def estimate(self, prepared: P) -> Estimate | None:
        """Return how long a new run will take; None if nothing is said of it."""
        return None

    def begin(self, run: RunDirectory, prepared: P) -> None:
        """Make what a new run needs beside its record; a run that was killed here is resumed without it.

        Raises:
            UserError: something else is in its place.
        """

    def facts(self, prepared: P) -> Sequence[Fact]:
        """Return what the run rests on, beside the images."""
        return ()

    def wanted(self, prepared: P) -> Any:
        """Return what the run is to make, as a dataclass of plain data that `status` counts by.

        It is noted whenever the run starts or goes on. None where the config says it all.
        """
        return None

    def ready_sets(self, prepared: P) -> Mapping[str, DistilledSet]:
        """Return the distilled sets that were there already, by the names that run.yaml has for them."""
        return {}

    def meaning(self, run: RunDirectory, config: C, key: Key) -> Meaning | None:
        """Return what it means to change a key of a run that was begun with `config`; None if its field says it all."""
        return None

    def instead(self, run: RunDirectory, config: C) -> str:
        """Return what may be done where another run would be needed, as the end of "start another run"."""
        return " with this config"

    def changed(self, run: RunDirectory, changes: Sequence[Change]) -> None:
        """Take in that the run goes on with these changes of its config; the lock is held."""

    @abstractmethod
    def cpus(self, run: RunDirectory, prepared: P) -> int:
        """Return how many CPUs its jobs take at a time; 0 if no Ray is needed, as nothing is left to be done."""

    @abstractmethod
    def advance(self, run: RunDirectory, prepared: P, progress: Progress) -> None:
        """Do whatever is left to be done; the lock is held, and Ray is there."""

    @abstractmethod
    def report(self, run: RunDirectory) -> list[dict[str, Any]]:
        """Write tables and plots of what has been done so far, also while the run is driven; return their rows."""

    def refuse_empty(self, run: RunDirectory, prepared: P, rows: Sequence[Row]) -> None:
        """See that something came out of a run that has done everything.

        Raises:
            UserError: nothing did; it says why.
        """

    @abstractmethod
    def status(self, run: RunDirectory) -> dict[str, Any]:
        """Return how far the run is; reads only, neither the images nor anything that needs PyTorch or Ray."""

    @abstractmethod
    def show(self, rows: Sequence[Row], run: Path, as_json: bool) -> None:
        """Print the rows of `report` for a terminal, or for a program."""
