"""The table of the sets that a distillation made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.output.numbers import percent
from search.output.sheet import Sheet

_HEADINGS = ("Set", "Method", "ipc", "Classes", "Validation %", "Seconds", "Image-gradients")


def sets_sheet(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """Return a sheet of the rows of `search.distillation.run.rows_of`; a dash is what is not known."""
    lines = [
        [
            row["set"],
            row["method"],
            str(row["images_per_class"]),
            str(row["classes"]),
            percent(row["validation_accuracy"]),
            f"{row['seconds']:.1f}",
            f"{row['image_gradients']:,}",
        ]
        for row in rows
    ]
    return Sheet(_HEADINGS, lines, "Distilled sets", names=(0, 1))
