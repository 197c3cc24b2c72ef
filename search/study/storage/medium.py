"""What a durable study is kept in: an Optuna storage, and what is different between a journal and a database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from optuna.storages import BaseStorage


@dataclass(frozen=True)
class Medium:
    """A journal or a database, opened.

    Attributes:
        storage: Optuna's view of it.
        together: a context in which what is set through the storage is held back, to be written at once at its end;
            nothing is read in it.
        reading: a context to read in: trouble with the medium, and damage to what it holds, become a UserError.
        writing: a context to write in: trouble with the medium becomes a UserError.
        number_of: the number of a trial by its id.
        has_ended: whether a trial, by its id, is known to have ended, where what is set of it then goes astray.
        close: gives back what is held open.
        notes: a sentence for each thing that was found damaged and was mended.
    """

    storage: BaseStorage
    together: Callable[[], AbstractContextManager[None]]
    reading: Callable[[], AbstractContextManager[None]]
    writing: Callable[[], AbstractContextManager[None]]
    number_of: Callable[[int], int]
    has_ended: Callable[[int], bool]
    close: Callable[[], None]
    notes: tuple[str, ...]
