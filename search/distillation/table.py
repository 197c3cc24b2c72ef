"""The table of the sets that a distillation made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table


def sets_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of the rows of `search.distillation.run.rows_of`; a dash is what is not known."""
    table = Table(title="Distilled sets")
    table.add_column("set", overflow="fold")
    table.add_column("method")
    for column in ("ipc", "classes", "validation %", "seconds", "image-gradients"):
        table.add_column(column, justify="right")
    for row in rows:
        accuracy = row["validation_accuracy"]
        table.add_row(
            row["set"],
            row["method"],
            str(row["images_per_class"]),
            str(row["classes"]),
            "-" if accuracy is None else f"{100 * accuracy:.1f}",
            f"{row['seconds']:.1f}",
            f"{row['image_gradients']:,}",
        )
    return table
