"""Errors that a user can cause, told in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake of the user's: one clear sentence, no traceback, exit status 2.

    Raise it with a sentence that names the file and the key or row, says what is wrong and, where there is one,
    the nearest right spelling. Everything else that is raised is a defect of ours.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known word closest to `word`, or an empty string if none is close."""
    found = nearest_word(word, known)
    return "" if found is None else f" Did you mean '{found}'?"


def nearest_word(word: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to `word`, or None if none is close."""
    spellings = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(word.casefold(), list(spellings), n=1, cutoff=0.6)
    return spellings[matches[0]] if matches else None


def in_one_line(error: BaseException) -> str:
    """Return the first line of what `error` says, without a full stop, or its class where it says nothing."""
    return (next(iter(str(error).strip().splitlines()), "") or type(error).__name__).rstrip(". ")


def kind_and_line(error: BaseException) -> str:
    """Return the class of `error` and what `in_one_line` says of it."""
    told, kind = in_one_line(error), type(error).__name__
    return told if told == kind else f"{kind}: {told}"


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Put what a mistake is in, such as the name of a config, in front of it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
