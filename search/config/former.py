"""Keys under the names that they had in an earlier version, which are taken for this one with a line of advice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.errors import UserError


def _as_it_is(value: Any) -> Any:
    return value


def by_stem(paths: Any) -> Any:
    """Return a list of files as a mapping from plain names, made of theirs, to them; anything else as it is."""
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str) for path in paths):
        return paths
    named: dict[str, str] = {}
    for path in paths:
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", Path(path).stem).lstrip("._-") or "set"
        alike = sum(name == plain or name.startswith(f"{plain}-again") for name in named)
        named[f"{plain}-again{alike}" if alike else plain] = path
    return named


@dataclass(frozen=True)
class Former:
    """A key that has another name now.

    Attributes:
        old: its dotted name in an earlier version.
        new: its dotted name now.
        convert: makes the value of today from the one of then.
    """

    old: str
    new: str
    convert: Callable[[Any], Any] = _as_it_is

    def renamed(self, path: Sequence[str]) -> tuple[str, ...] | None:
        """Return the path of an old key, or of one inside it, as it is now; None if it is not about this one."""
        old = tuple(self.old.split("."))
        return (*self.new.split("."), *path[len(old) :]) if tuple(path[: len(old)]) == old else None


def with_new_names(tree: dict[str, Any], former: Sequence[Former]) -> Iterator[Former]:
    """Give the keys of `tree` their names of today, in place, and yield those that had another one.

    Raises:
        UserError: a key is there under both of its names.
    """
    for key in former:
        holder, name = _holder(tree, key.old, make=False)
        if holder is None or name not in holder:
            continue
        place, new = _holder(tree, key.new, make=True)
        if place is None:
            continue  # what is wrong with the section is said when it is checked
        if new in place:
            raise UserError(f"'{key.old}' is the former name of '{key.new}', which is given, too.")
        place[new] = key.convert(holder.pop(name))
        yield key


def _holder(tree: dict[str, Any], key: str, *, make: bool) -> tuple[dict[str, Any] | None, str]:
    """Return the mapping that the last name of a dotted key stands in, None if there is none, and that name."""
    *sections, name = key.split(".")
    holder: Any = tree
    for section in sections:
        if section not in holder and make:
            holder[section] = {}
        holder = holder.get(section)
        if not isinstance(holder, dict):
            return None, name
    return holder, name
