"""Settings written by a user, read into one of dp_core's dataclasses."""

from __future__ import annotations

import functools
import json
from collections.abc import Hashable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from dp_core.errors import UserError, nearest

T = TypeVar("T")


@functools.cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    """Return what checks settings of this kind; making one takes milliseconds, and a search does it for every trial."""
    return TypeAdapter(cast("Any", kind))


def parse_settings(kind: type[T], settings: Mapping[str, Any], prefix: str) -> T:
    """Return an instance of the dataclass `kind` with `settings` as its fields.

    Args:
        kind: a dataclass such as Recipe.
        settings: plain values by field name.
        prefix: dotted key under which the settings stand, for the error.

    Raises:
        UserError: an unknown field (with the nearest right one), a value of the wrong type or out of range.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    refuse_unknown(settings, known, f"{prefix}.")
    try:
        # Strict JSON, not strict Python: that would take nothing but an instance of the dataclass.
        adapter: TypeAdapter[T] = _adapter(cast("Hashable", kind))
        return adapter.validate_json(json.dumps(dict(settings)), strict=True)
    except UserError as error:
        raise UserError(f"'{prefix}': {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"'{prefix}.{key}' is not valid: {first['msg']}, not {first['input']!r}.") from error


def refuse_unknown(value: Mapping[str, Any], known: Any, prefix: str = "") -> None:
    """Raise UserError for the first key of `value` that is not in `known`, naming the nearest that is."""
    for key in value:
        if key not in known:
            raise UserError(f"There is no key '{prefix}{key}'.{nearest(key, known)} Known: {', '.join(known)}.")
