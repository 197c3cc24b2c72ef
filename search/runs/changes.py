"""What of a config was changed since a run was last driven, and whether it may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dp_core.errors import UserError
from dp_core.files import write_json
from search.config.meaning import ASKED, FIXED, PLACE, Meaning, meaning_of
from search.config.sections import RunConfig
from search.output.wording import show
from search.runs.directory import RunDirectory

Tree = Mapping[str, Any]
Key = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A key whose value is another one now.

    Attributes:
        key: the names on the way to it.
        before: its value when the run was last driven.
        after: its value now.
        meaning: what it means to change it.
    """

    key: Key
    before: Any
    after: Any
    meaning: Meaning

    def __str__(self) -> str:
        return f"{'.'.join(self.key)}: {show(self.before)} → {show(self.after)}"


def agree(run: RunDirectory, config: RunConfig) -> None:
    """Note that what the run does from now on is done with this config."""
    write_json(run.agreed, config.in_full())


def agreed_config(run: RunDirectory) -> Tree | None:
    """Return the config that was agreed on; None for a run from before there was such a file, or if it is damaged."""
    try:
        found = json.loads(run.agreed.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def changes_between(
    before: Tree, config: RunConfig, meaning: Callable[[Key], Meaning | None] = lambda key: None
) -> list[Change]:
    """Return what differs between two configs of one kind.

    Args:
        before: the config as plain data, paths in full.
        config: the config as it is now.
        meaning: what changing a key means, where that depends on more than the key; None to ask its field.
    """
    model = type(config)
    return [
        Change(key, old, new, meaning(key) or _meaning(model, key, old, new))
        for key, old, new in _differences(before, config.in_full(), (), model)
    ]


def _meaning(model: type[RunConfig], key: Key, before: Any, after: Any) -> Meaning:
    found = meaning_of(model, key)
    # An entry of a user's own that was not there before, or no longer is, was not moved.
    moved_here = found.changing is PLACE and not found.declared and None in (before, after)
    return model.otherwise if found.changing is None or moved_here else found.changing


def refuse_changes(run: RunDirectory, changes: Sequence[Change], accepted: bool, instead: str) -> None:
    """See that nothing was changed but what may be, and that it was `accepted` where a user has to say so.

    Args:
        run: the run.
        changes: of its config.
        accepted: whether they are meant.
        instead: what to do where another run would be needed, as the end of a sentence.

    Raises:
        UserError: it shows what was changed.
    """
    if fixed := [str(change) for change in changes if change.meaning is FIXED]:
        raise UserError(
            f"The config of the run {run.path} was changed where it would be another run: {'; '.join(fixed)}. "
            f"Put it back, or start another run{instead}."
        )
    asked = [str(change) for change in changes if change.meaning is ASKED]
    if asked and not accepted:
        raise UserError(
            f"The config of the run {run.path} has changed: {'; '.join(asked)}. "
            "Resume it with --accept-changes to go on with this, or put it back."
        )


def moved(changes: Sequence[Change]) -> list[str]:
    """Return what is elsewhere now, as `key: before → after`: nothing has to be accepted about it."""
    return [str(change) for change in changes if change.meaning is PLACE]


def _differences(before: Any, after: Any, key: Key, model: type[RunConfig]) -> Iterator[tuple[Key, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = (*key, str(name))
            # A key that only one of two versions of Winnow knows is no change of the user's.
            if (name in before and name in after) or not meaning_of(model, inner).declared:
                yield from _differences(before.get(name), after.get(name), inner, model)
    elif before != after:
        yield key, before, after
