"""The columns of a table that has a row for every instance of a dataclass."""

from __future__ import annotations

from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

import pyarrow as pa

_COLUMNS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def columns_of(kind: type[Any]) -> list[pa.Field]:
    """Return a column for each field of a dataclass, in their order; those of fields that may be None are nullable.

    Raises:
        KeyError: a field is not a bool, int, float or str, or one of these or None.
    """
    hints = get_type_hints(kind)
    return [_column(each.name, hints[each.name]) for each in fields(kind)]


def _column(name: str, hint: Any) -> pa.Field:
    options = get_args(hint) or (hint,)
    (plain,) = (option for option in options if option is not NoneType)
    return pa.field(name, _COLUMNS[plain], nullable=NoneType in options)
