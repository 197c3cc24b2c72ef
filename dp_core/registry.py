"""Things by name that are imported when they are first looked up, so that their names cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """What there is of a kind, by name; names, their order and `in` import nothing.

    Args:
        places: where each is, as `package.module:name`.
        made: makes an entry of what is there, once; None where that is the entry itself.
    """

    def __init__(self, places: Mapping[str, str], made: Callable[[Any], T] | None = None) -> None:
        self._places = dict(places)
        self._made = made
        self._found: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._found:
            module, _, attribute = self._places[name].partition(":")
            there = getattr(import_module(module), attribute)
            self._found[name] = there if self._made is None else self._made(there)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __repr__(self) -> str:
        return f"Registry({self._places})"
