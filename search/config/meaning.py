"""What a key means beside its value: it stands on the field, as `Annotated[…, FIXED]`, and is read where it matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from search.config.keys import Slot, fields_of


class Meaning(Enum):
    """What a key decides. The first four say whether it may be changed once a run has begun."""

    PLACE = auto()
    """Where something is; whether it is the same thing, digests of its contents decide."""
    FIXED = auto()
    """With another value it would be another run."""
    FREE = auto()
    """What has been done stays right with any value, and stands beside what will be."""
    ASKED = auto()
    """May be changed by a user who says that it is meant."""
    SCORES = auto()
    """What the proxy accuracy of a candidate means depends on it, and so whether another search can learn from it."""


PLACE, FIXED, FREE, ASKED, SCORES = Meaning
_CHANGING = (PLACE, FIXED, FREE, ASKED)


@dataclass(frozen=True)
class KeyMeaning:
    """What is known of a key.

    Attributes:
        changing: whether it may be changed; None if no field on the way to it says so.
        declared: whether its name is one that a section declares, rather than one of the user's in a free mapping.
    """

    changing: Meaning | None
    declared: bool


def meaning_of(model: type[BaseModel], key: Sequence[str]) -> KeyMeaning:
    """Return what `key`, the names on the way to it, means in a config of this model; the last field to say so decides.

    What is inside a mapping of the user's own, such as a recipe, means what the mapping does.
    """
    slot, found, declared = Slot(model), None, True
    for name in key:
        holder = next((member for member in slot.members if member.model is not None), slot.members[0])
        declared = holder.model is not None
        slot = holder.child(name)
        found = next((item for item in slot.constraints if item in _CHANGING), found)
    return KeyMeaning(found, declared)


def marked(config: BaseModel, meaning: Meaning, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values that the fields with this meaning have, by dotted key."""
    for name, info in fields_of(type(config)).items():
        value = getattr(config, name)
        if meaning in Slot.of(info.annotation, info.metadata).constraints:
            yield prefix + name, value
        elif isinstance(value, BaseModel):
            yield from marked(value, meaning, f"{prefix}{name}.")


def with_paths_in_full(config: BaseModel) -> dict[str, Any]:
    """Return the config as plain data, with all paths absolute: a run must find its files wherever it goes on."""
    tree = config.model_dump(mode="json")
    return {name: _in_full(getattr(config, name), tree[name]) for name in tree}


def _in_full(value: Any, dumped: Any) -> Any:
    if isinstance(value, BaseModel):
        return with_paths_in_full(value)
    if isinstance(value, Path):
        return str(value.resolve())
    if isinstance(value, tuple):
        return [_in_full(item, plain) for item, plain in zip(value, dumped, strict=True)]
    if isinstance(value, Mapping):
        return {name: _in_full(item, dumped[name]) for name, item in value.items()}
    return dumped
