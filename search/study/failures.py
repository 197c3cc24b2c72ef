"""What trials that fail one after another have in common."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from dp_core.errors import UserError
from search.output.wording import show

LONGEST_REASON = 300
"""Characters of a reason that the sentence shows before it is cut short."""

OTHER_REASONS = 2
"""Reasons beside the last one that the sentence shows."""

Params = Mapping[str, Any]


class FailureStreak:
    """The failed trials since one last ended well, against those that did.

    A trial ends well if it finishes or is stopped for lack of promise. Kept are the failures of the streak and the
    different candidates that ended well, each once.

    Args:
        limit: after so many failures in a row it is time to stop.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failed: dict[int, tuple[Params, str]] = {}
        self._well: Counter[tuple[tuple[str, Any], ...]] = Counter()

    def add(self, number: int, params: Params, reason: str) -> None:
        """Note that the trial of this number failed; saying it twice changes nothing."""
        self._failed.setdefault(number, (dict(params), " ".join(reason.split()).rstrip(".")))

    def ended_well(self, params: Params) -> None:
        """Note that a trial ended well, which ends the streak."""
        self._failed.clear()
        self._well[tuple(sorted(params.items()))] += 1

    @property
    def broken(self) -> UserError | None:
        """What to tell the user once the limit is reached, None before."""
        if len(self._failed) < self._limit:
            return None
        params, reasons = zip(*self._failed.values(), strict=True)
        if len(reasons) == 1:
            return UserError(f"a trial failed with: {_cut(reasons[0])}; it has {self._common(params)}.")
        ends = reasons_in_words(reasons)
        return UserError(f"{len(reasons)} trials in a row failed, {ends}; they have {self._common(params)}.")

    def _common(self, failed: Sequence[Params]) -> str:
        """Return what the failed trials have in common and those that ended well have not."""
        well = [dict(params) for params in self._well]
        shared = _same_in_all(failed)
        common = " in common" if len(failed) > 1 else ""
        everything = _listed([_words(name, value) for name, value in shared.items()]) + common
        if not well:
            return f"{everything}, and no other has ended well" if shared else f"nothing{common}"
        alone = [_words(name, value) for name, value in shared.items() if not self._number_with({name: value})]
        if told := [*alone, *_ranges(failed, well)]:
            return f"{_listed(told)}{common}, which {self._none_of_the_others()} has"
        if not shared:
            return f"nothing{common} that the others have not"
        number = self._number_with(shared)
        if number:
            return (
                f"{everything}, but so {'has' if number == 1 else 'have'} {number} of the {self._well.total()} others"
            )
        return f"{everything}, all of which {self._none_of_the_others()} has"

    def _number_with(self, wanted: Params) -> int:
        return sum(count for params, count in self._well.items() if _has(dict(params), wanted))

    def _none_of_the_others(self) -> str:
        return f"none of the {self._well.total()} others"


def reasons_in_words(reasons: Sequence[str]) -> str:
    """Return the last reason, how many failed alike (numbers aside), and with what else."""
    last = reasons[-1]
    examples = {_kind(reason): reason for reason in reasons}
    kinds = Counter(_kind(reason) for reason in reasons)
    alike = kinds.pop(_kind(last))
    words = f"the last with: {_cut(last)}"
    if not kinds:
        return words if alike == 1 else f"{words} (all {alike} alike)"
    shown = [f"{count} with: {_cut(examples[kind])}" for kind, count in kinds.most_common(OTHER_REASONS)]
    more = [f"{len(kinds) - len(shown)} more reasons"] if len(kinds) > len(shown) else []
    return f"{words} ({alike} so, {', '.join([*shown, *more])})"


def _kind(reason: str) -> str:
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "0", reason)


def _cut(reason: str) -> str:
    return textwrap.shorten(reason, LONGEST_REASON, placeholder=" …")


def _same_in_all(failed: Sequence[Params]) -> dict[str, Any]:
    first, *rest = failed
    return {name: value for name, value in first.items() if all(_has(params, {name: value}) for params in rest)}


def _ranges(failed: Sequence[Params], well: Sequence[Params]) -> list[str]:
    """Return the numbers that differ between the failed trials, in a range that no other trial is in."""
    found = []
    for name in failed[0]:
        values = [params[name] for params in failed if _is_number(params.get(name))]
        elsewhere = [params[name] for params in well if _is_number(params.get(name))]
        if len(values) < len(failed) or not elsewhere:
            continue
        low, high = min(values), max(values)
        if low < high and not any(low <= value <= high for value in elsewhere):
            found.append(f"{name} from {_shown(low)} to {_shown(high)}")
    return found


def _has(params: Params, wanted: Params) -> bool:
    return all(name in params and params[name] == value for name, value in wanted.items())


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _words(name: str, value: object) -> str:
    return f"{name} = {_shown(value)}"


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if isinstance(value, float) else show(value)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
