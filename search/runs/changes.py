"""The config that the trials of a run were made with, and what may be changed before it is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dp_core.errors import UserError
from dp_core.files import write_json
from search.config.overrides import Override
from search.output.wording import show
from search.runs.directory import RunDirectory

_FIXED = (
    "run.name",
    "run.seed",
    "data.validation",
    "distill.method",
    "distill.settings",
    "distill.architectures",
    "space",
    "screen",
    "search.objectives",
    "search.score",
    "search.constraints",
    "search.ladder",
    "search.storage",
)
"""What the trials so far would have been other trials with."""

_PLACES = (
    "data.root",
    "data.format",
    "data.cache",
    "distill.directory",
    "distill.experts",
    "distill.output",
    "distill.sets",
    "published",
    "sets",
    "truth.directory",
    "truth.table",
)
"""Where things are: whether they are the same things, digests of their contents decide."""

Config = Mapping[str, Any]


def agree(run: RunDirectory, config: Config) -> None:
    """Note that the trials to come are made with this config."""
    write_json(run.agreed, dict(config))


def refuse_changes(run: RunDirectory, config: Config, accepted: bool) -> list[str]:
    """See that the config is that of the run's trials, or was changed where it may be, and this was `accepted`.

    How tickets are retrained may be changed without that: what was retrained otherwise is kept beside it.

    Returns:
        What was moved, as `key: before → after`: nothing has to be accepted about it.

    Raises:
        UserError: it shows what else differs.
    """
    before = _agreed(run)
    if before is None:
        return []
    moved, changes = _split(_changes(before, config, ""))
    fixed = [change for key, change in changes if _is_fixed(key, config)]
    if fixed:
        raise UserError(
            f"The config of the run {run.path} was changed where its trials would be other ones: {'; '.join(fixed)}. "
            f"Put it back, or start another run with search.start.runs=[{run.path}] to learn from this one."
        )
    told = [change for key, change in changes if key.partition(".")[0] != "retrain"]
    if told and not accepted:
        raise UserError(
            f"The config of the run {run.path} has changed: {'; '.join(told)}. "
            "Resume it with --accept-changes to go on with this, or put it back."
        )
    return moved


def refuse_all_but_moves(run: RunDirectory, what: str, before: Config, config: Config) -> list[str]:
    """See that nothing differs but where things are, for runs that are `what` and take no other changes.

    Returns:
        What was moved, as `key: before → after`.

    Raises:
        UserError: it shows what else differs.
    """
    moved, changes = _split(_changes(before, config, ""))
    if changes:
        raise UserError(
            f"The run {run.path} is {what}: when it is resumed, only keys that say where its files are can be changed, "
            f"such as data.root, not {'; '.join(change for _, change in changes)}. Start another run with that."
        )
    return moved


def moving(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides that say where things are, and the others."""
    moves = [text for text in overrides if _is_any_of(".".join(Override.parse(text).path), _PLACES)]
    return moves, [text for text in overrides if text not in moves]


def _split(changes: Iterable[tuple[str, str]]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return what was only moved, in words, and the other changes."""
    found = list(changes)
    return [text for key, text in found if _is_any_of(key, _PLACES)], [
        (key, text) for key, text in found if not _is_any_of(key, _PLACES)
    ]


def _is_any_of(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def has_changed(run: RunDirectory, config: Config, section: str) -> bool:
    """Return whether a section is another than that of the trials so far."""
    before = _agreed(run)
    return before is not None and any(_changes(before.get(section), config.get(section), section))


def _agreed(run: RunDirectory) -> Config | None:
    """Return the config that was agreed on; None for a run from before there was such a file, or if it is damaged."""
    try:
        found = json.loads(run.agreed.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _is_fixed(key: str, config: Config) -> bool:
    # The last rung of the ladder trains by the recipe of retraining, for a number of epochs of its own.
    on_ladder = bool(config["search"].get("ladder", {}).get("real_epochs"))
    return _is_any_of(key, (*_FIXED, *(("retrain.recipe",) if on_ladder else ())))


def _changes(before: Any, after: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the keys that differ, each with `key: before → after`."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = f"{key}.{name}" if key else str(name)
            # A key that only one of two versions of Winnow knows is no change of the user's.
            if key == "" or name in before or inner.startswith(("space", "retrain.recipe", "distill.settings")):
                yield from _changes(before.get(name), after.get(name), inner)
    elif before != after:
        yield key, f"{key}: {show(before)} → {show(after)}"
