"""What a trial's own failure is, and what is none of its fault."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator

import torch

from dp_core.training.splitting import OneImageTooLarge, out_of_memory

_LONGEST_REASON = 500


def is_own_failure(error: Exception) -> bool:
    """Return whether the candidate is to blame for `error`, as far as can be told.

    Not for a full disk or a used-up quota, which will have room again, nor for a GPU that failed: what is left of this
    process cannot use it any more, and so the trial has lost its worker.
    """
    full = any(isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT) for each in _chain(error))
    return not full and not isinstance(error, torch.AcceleratorError)


def lacks_memory(error: Exception) -> bool:
    """Return whether `error` says that there was not enough memory, of the machine or of its GPU."""
    return isinstance(error, MemoryError | OneImageTooLarge) or out_of_memory(error)


def reason_of(error: Exception) -> str:
    """Return the kind and the message of `error` in one line of at most 500 characters."""
    message = str(error)
    return one_line(f"{type(error).__name__}: {message}" if message else type(error).__name__)


def one_line(text: str) -> str:
    """Return `text` in one line of at most 500 characters."""
    return " ".join(text.split())[:_LONGEST_REASON]


def traceback_of(error: Exception) -> str:
    """Return the whole traceback of `error`, as Python prints it."""
    return "".join(traceback.format_exception(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield `error` and what it was raised from."""
    met: set[int] = set()
    while error is not None and id(error) not in met:
        met.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
