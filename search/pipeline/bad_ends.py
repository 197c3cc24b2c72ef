"""Tickets and retrainings that came to nothing, and why: they are not tried again unless somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from dp_core.files import write_json


@dataclass(frozen=True)
class BadEnd:
    """How a trial's ticket, or a retraining of it, came to nothing.

    Args:
        trial: whose ticket it is.
        status: `collapsed`, `diverged` or `failed`.
        reason: in words.
        retraining: its name; None for the ticket itself, which could not be pruned to its end.
    """

    trial: int
    status: str
    reason: str
    retraining: str | None = None

    @property
    def sentence(self) -> str:
        """What became of it, as a line for the user."""
        what = f"the ticket of trial {self.trial}" if self.retraining is None else f"the retraining {self.retraining}"
        return f"{what} {self.status}: {self.reason}"


class BadEnds:
    """The bad ends of a run, in the file that has them; each is on the disk before the next training ends.

    A training follows from its ticket, its seed and its recipe, so what has come to nothing would do so again. One
    whose worker was lost more often than `resources.max_failures` allows, or that hung, counts as well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends = list(read_bad_ends(path))

    def __iter__(self) -> Iterator[BadEnd]:
        return iter(self._ends)

    def add(self, end: BadEnd) -> None:
        """Note a bad end, in place of what was known of the same ticket or retraining."""
        others = [known for known in self._ends if (known.trial, known.retraining) != (end.trial, end.retraining)]
        self._write([*others, end])

    def forget(self, retrainings: Iterable[str]) -> None:
        """Let the retrainings of these names be tried again."""
        names = set(retrainings)
        if any(end.retraining in names for end in self._ends):
            self._write([end for end in self._ends if end.retraining not in names])

    def tickets(self) -> set[int]:
        """Return the trials whose tickets could not be pruned to their ends."""
        return {end.trial for end in self._ends if end.retraining is None}

    def retrainings(self) -> set[str]:
        """Return the names of the retrainings that came to nothing."""
        return {end.retraining for end in self._ends if end.retraining is not None}

    def lost(self, names: Callable[[int], Sequence[str]], models: Mapping[str, Path]) -> frozenset[int]:
        """Return the trials that came to nothing: without ticket, or with a bad end of every retraining.

        Args:
            names: of the retrainings of a trial that are wanted.
            models: those that are there, by name; one of them is something.
        """
        tickets, failed = self.tickets(), self.retrainings()
        return frozenset(
            trial
            for trial in {end.trial for end in self._ends}
            if not any(name in models for name in names(trial))
            and (trial in tickets or all(name in failed for name in names(trial)))
        )

    def _write(self, ends: list[BadEnd]) -> None:
        write_json(self._path, [asdict(end) for end in ends])
        self._ends = ends


def read_bad_ends(path: Path) -> tuple[BadEnd, ...]:
    """Return the bad ends in a file; none if there is no file or it is damaged: they are then found out again."""
    try:
        return TypeAdapter(tuple[BadEnd, ...]).validate_json(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return ()
