from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pytest

from search.output.columns import columns_of


@dataclass
class Bird:
    name: str
    wings: int = 2
    weight: float | None = None
    flies: bool | None = True


def test_columns_are_the_fields_and_null_is_none() -> None:
    assert columns_of(Bird) == [
        pa.field("name", pa.string(), nullable=False),
        pa.field("wings", pa.int64(), nullable=False),
        pa.field("weight", pa.float64(), nullable=True),
        pa.field("flies", pa.bool_(), nullable=True),
    ]


def test_what_no_column_can_hold_is_our_defect() -> None:
    @dataclass
    class Flock:
        birds: list

    with pytest.raises(KeyError):
        columns_of(Flock)
