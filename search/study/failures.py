"""What is told of trials that came to nothing: how many, and the last reason."""

from __future__ import annotations

import textwrap

from dp_core.errors import UserError

LONGEST_REASON = 300
"""Characters of a reason that a sentence shows before it is cut short."""


class FailureStreak:
    """The number of failed trials since one last ended well: finished, or was stopped for lack of promise.

    Args:
        limit: after so many failures in a row it is time to stop.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failed = 0

    def ended_well(self) -> None:
        """Note that a trial ended well."""
        self._failed = 0

    def failed(self, reason: str) -> UserError | None:
        """Note that a trial failed; return what to tell the user if it is time to stop."""
        self._failed += 1
        if self._failed < self._limit:
            return None
        if self._failed == 1:
            return UserError(f"a trial failed with: {shortened(reason)}.")
        return UserError(f"{self._failed} trials in a row failed, the last with: {shortened(reason)}.")


def shortened(reason: str) -> str:
    """Return a reason in one line, without the full stop, cut short if it is long."""
    return textwrap.shorten(reason, LONGEST_REASON, placeholder=" …").rstrip(".")
