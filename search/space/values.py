"""Values a parameter may take, and the form in which Optuna stores them."""

from __future__ import annotations

import json
import math
from typing import Any, TypeAlias

Value: TypeAlias = "str | int | float | bool | tuple[Value, ...] | None"
"""A scalar, or a list of values held as a tuple."""

Stored: TypeAlias = "str | int | float | bool | None"
"""What Optuna's categorical distributions can store."""


def freeze(raw: Any) -> Value:
    """Return YAML's `raw` with tuples for lists.

    Raises:
        TypeError: it is, or holds, something that no candidate may be given (a mapping, NaN, an infinity).
    """
    if isinstance(raw, list | tuple):
        return tuple(freeze(item) for item in raw)
    if isinstance(raw, float) and not math.isfinite(raw):
        raise TypeError("a number that is not finite")
    if raw is None or isinstance(raw, str | int | float):
        return raw
    raise TypeError("a mapping" if isinstance(raw, dict) else type(raw).__name__)


def thaw(value: Value) -> Any:
    """Return `value` with a new list for every tuple, as it was written in YAML."""
    return [thaw(item) for item in value] if isinstance(value, tuple) else value


def stored(value: Value) -> Stored:
    """Return what Optuna stores for `value`: a scalar as it is, a list as its compact JSON text, `[64,128]`.

    The text does not depend on where the list stands among the choices, so a study survives reordering them.
    """
    return json.dumps(thaw(value), separators=(",", ":"), ensure_ascii=False) if isinstance(value, tuple) else value


def same(one: Value, other: Value) -> bool:
    """Return whether two values are equal, telling true from 1 (Python does not) but not 1 from 1.0."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and one == other
