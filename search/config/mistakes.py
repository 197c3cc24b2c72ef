"""Turning what pydantic found wrong into one sentence that names the place, the key and the cure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dp_core.errors import nearest
from search.config.keys import Slot, describe_keys, fields_of, held_keys
from search.config.overrides import Override, origin
from search.output.wording import show

WRONG_VALUE = (
    "_type", "_parsing", "int_from_float", "greater_than", "less_than", "multiple_of", "literal_error", "enum",
    "none_required", "too_short", "too_long", "pattern_mismatch",
)  # fmt: skip
"""Parts of the names pydantic gives to errors that the expected type and range explain in full."""


@dataclass(frozen=True)
class Mistake:
    """One error, with the key it is about as a user writes it and what was expected there."""

    error: ErrorDetails
    key: tuple[str | int, ...]
    expected: Slot
    holder: Slot

    @property
    def dotted(self) -> str:
        """The key as a user writes it: `stages[0].width`."""
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.key)
        return text.removeprefix(".")

    @property
    def known(self) -> list[str]:
        """The keys that may stand beside this one."""
        models = [member.model for member in self.holder.members if member.model is not None]
        return [key for model in models for key in fields_of(model)]


def describe(error: ValidationError, model: type[BaseModel], path: Path, overrides: Sequence[Override]) -> str:
    """Return one sentence on the first mistake in `error`, unknown keys first, and how many more there are."""
    mistakes = _distinct([_locate(model, details) for details in error.errors(include_url=False)])
    first = mistakes[0]
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return f"{origin(path, overrides, first.key)}: {_sentence(first, model)}{more}"


def _distinct(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """Keep one mistake a key, unknown keys first, without the missing keys that a misspelt one explains.

    A value that fits no member of a union has an error for each; those inside it are left out too.
    """
    unknown = [mistake for mistake in mistakes if mistake.error["type"] == "extra_forbidden"]
    explained = {
        (*mistake.key[:-1], key)
        for mistake in unknown
        for key in mistake.known
        if f"'{key}'" in nearest(str(mistake.key[-1]), mistake.known)
    }
    kept = {
        mistake.key: mistake
        for mistake in reversed([*unknown, *(m for m in mistakes if m not in unknown)])
        if mistake.error["type"] != "missing" or mistake.key not in explained
    }
    inside = [key for key in kept if any(key[:length] in kept for length in range(1, len(key)))]
    return [kept[key] for key in reversed(kept) if key not in inside]


def _locate(model: type[BaseModel], error: ErrorDetails) -> Mistake:
    """Follow pydantic's path through the model; it mixes the user's keys with labels of union members."""
    key: list[str | int] = []
    expected = chosen = holder = Slot(model)
    for element in error["loc"]:
        if len(chosen.members) > 1:
            chosen = _member(chosen, str(element))
        elif element != "[key]":
            holder = chosen.members[0]
            expected = chosen = holder.child(element)
            key.append(element)
    return Mistake(error, tuple(key), expected, holder)


def _member(union: Slot, label: str) -> Slot:
    """Return the member of a union that pydantic labels `label`: a discriminator's value or a type's name."""
    for member in union.members:
        if member.model is not None:
            tags = [Slot.of(info.annotation, info.metadata).annotation for info in member.model.model_fields.values()]
            if label == member.model.__name__ or any(label in getattr(tag, "__args__", ()) for tag in tags):
                return member
    named = [member for member in union.members if getattr(member.annotation, "__name__", "?") in label]
    return named[0] if named else Slot(Any)


def _sentence(mistake: Mistake, model: type[BaseModel]) -> str:
    kind, value, expected = mistake.error["type"], mistake.error["input"], mistake.expected.describe()
    if kind == "extra_forbidden":
        return _unknown_key(mistake, model)
    if kind == "missing" and isinstance(mistake.key[-1], int):
        whole = mistake.dotted.rpartition("[")[0]
        return f"'{whole}' must be {_with_article(mistake.holder.describe())}, not {show(value)}."
    if kind == "missing":
        return f"the key '{mistake.dotted}' is missing; it must be {_with_article(expected)}."
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_variant(mistake)
    if any(part in kind for part in WRONG_VALUE) and expected != "any":
        must = f"'{mistake.dotted}' must be {_with_article(expected)}, not {show(value)}"
        return f"{must}{_hint(kind, value)}.{_nearest_allowed(mistake.expected, value)}"
    message = str(mistake.error.get("ctx", {}).get("error", mistake.error["msg"])).rstrip(".")
    return f"'{mistake.dotted}' is not valid: {message}." if mistake.key else f"{message}."


def _unknown_key(mistake: Mistake, model: type[BaseModel]) -> str:
    word, here = str(mistake.key[-1]), f"The keys here are {', '.join(mistake.known)}."
    every = {row.key for row in describe_keys(model)}
    if "." in word and mistake.dotted in every:
        return f"the key '{word}' has to be nested, {word.replace('.', ': {')}: …{'}' * word.count('.')}."
    if re.sub(r"\[\d+\]", "[]", mistake.dotted) in every:
        return f"'{mistake.dotted}' belongs to another variant than the one chosen. {here}"
    elsewhere = _elsewhere(mistake, {*every, *held_keys(model)})
    there = f" There is a key {' and '.join(repr(key) for key in elsewhere)}." if elsewhere else ""
    advice = (nearest(word, mistake.known) + there) or f" {here}"
    if not elsewhere and "settings" in mistake.known:
        holder = ".".join((*map(str, mistake.key[:-1]), "settings"))
        advice += f" Settings of what is chosen here stand in '{holder}'."
    return f"unknown key '{mistake.dotted}'.{advice}"


def _elsewhere(mistake: Mistake, every: Collection[str]) -> list[str]:
    """Return where the last name of an unknown key does stand, those that share most of the way to it first, two."""
    found = []
    for key in (key for key in every if key.split(".")[-1] == str(mistake.key[-1])):
        # Names of the user's own, `*`, are those of the unknown key as long as the two go the same way.
        names, shared = key.split("."), 0
        for index, (name, given) in enumerate(zip(names, map(str, mistake.key), strict=False)):
            if name not in ("*", given):
                break
            names[index], shared = given, index + 1
        found.append((-shared, ".".join(names)))
    return [key for _, key in sorted(found)[:2]]


def _wrong_variant(mistake: Mistake) -> str:
    context = mistake.error.get("ctx", {})
    key = f"{mistake.dotted}.{str(context['discriminator']).strip(chr(39))}".removeprefix(".")
    tags = [_tag_values(member, key.split(".")[-1]) for member in mistake.expected.members]
    allowed = [value for values in tags for value in values]
    if mistake.error["type"] == "union_tag_not_found":
        return f"the key '{key}' is missing; it must be one of {' | '.join(allowed)}."
    tag = str(context["tag"])
    return f"'{key}' must be one of {' | '.join(allowed)}, not '{tag}'.{nearest(tag, allowed)}"


def _tag_values(member: Slot, name: str) -> list[str]:
    return [str(value) for value in getattr(member.child(name).annotation, "__args__", ())]


def _hint(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, bool):
        return " (YAML reads yes, no, on and off as true or false; quote it to mean text)"
    if kind == "string_type" and isinstance(value, int | float):
        return " (quote it to mean text)"
    if isinstance(value, str) and kind in ("int_type", "float_type", "bool_type"):
        return ", which is text"
    return ""


def _nearest_allowed(expected: Slot, value: object) -> str:
    if not isinstance(value, str):
        return ""
    words = [str(word) for member in expected.members for word in _allowed(member.annotation)]
    return nearest(value, words)


def _allowed(annotation: Any) -> tuple[Any, ...]:
    if hasattr(annotation, "__members__"):
        return tuple(item.value for item in annotation)
    return tuple(word for word in getattr(annotation, "__args__", ()) if isinstance(word, str))


def _with_article(phrase: str) -> str:
    first = phrase.split()[0]
    if first in ("integer",):
        return f"an {phrase}"
    return f"a {phrase}" if first in ("number", "path", "list", "mapping") else phrase
