"""All tables of a comparison on one Markdown page, with what has to be known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.comparison.best import best_by_cost
from search.comparison.crossings_section import crossings_section
from search.comparison.notes import notes
from search.comparison.set_costs_section import set_costs_section
from search.comparison.sheets import NOTHING, comparison_sheets, sparsity_label
from search.comparison.statistics import Row, by_sparsity, mean
from search.output.numbers import ABSENT
from search.output.rows import finite, grouped
from search.output.sheet import Sheet

_UNCONVERGED = "\n\\*: Lanczos' method had not converged for a seed, so that its eigenvalue may be larger."


def page_body(rows: Sequence[Row]) -> str:
    """Return the sections of a comparison's page from its rows; without rows it says that there is nothing yet."""
    if not rows:
        return f"{NOTHING}\n"
    sections = {
        "All methods": "\n".join(sheet.markdown() for sheet in comparison_sheets(rows)),
        "How to read tables and plots": "\n".join(f"- {note}" for note in notes(rows)),
        "Learning rates and sharpness": _details(rows),
        "Best by cost of the mask": best_by_cost(rows),
        "Cost of a mask with its set": set_costs_section(rows),
        "Crossing points": crossings_section(rows),
    }
    return "\n\n".join(f"## {heading}\n\n{text.rstrip()}" for heading, text in sections.items() if text) + "\n"


def _details(rows: Sequence[Row]) -> str:
    """Return the learning rates that each method was given, and the mean top eigenvalue of its trained tickets."""
    lines = []
    for (network, method), group in grouped(rows, "network", "method").items():
        rates = [_first(group, column) for column in ("learning_rate", "train_learning_rate")]
        measured = by_sparsity([row for row in group if finite([row], "top_eigenvalue")])
        told = "; ".join(f"{sparsity_label(at)}: {_eigenvalue(cell)}" for at, cell in measured.items())
        lines.append([network, method, *(ABSENT if rate is None else f"{rate:g}" for rate in rates), told or ABSENT])
    headings = ["Network", "Method", "Learning rate of a round", "of the final training", "Top Hessian eigenvalue"]
    unconverged = any(row.get("eigenvalue_converged") is False for row in rows)
    return Sheet(headings, lines).markdown() + (_UNCONVERGED if unconverged else "")


def _first(rows: Sequence[Row], column: str) -> Any:
    """Return the first value that is there: a seed without a ticket may lack it."""
    return next((row[column] for row in rows if row.get(column) is not None), None)


def _eigenvalue(rows: Sequence[Row]) -> str:
    found = f"{mean(finite(rows, 'top_eigenvalue')):.3g}"
    return found + ("\\*" if any(row.get("eigenvalue_converged") is False for row in rows) else "")
