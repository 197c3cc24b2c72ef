"""The comparison that `winnow prune` makes, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from search.comparison.statistics import Row, reference_method, summarise
from search.output.numbers import ABSENT, magnitude, percent
from search.output.prunable import prunable_sentence
from search.output.rows import grouped
from search.output.sheet import Sheet

NOTHING = "Nothing of the comparison is finished yet."
"""What is said where there is no row."""


def prune_sheets(rows: Sequence[Row]) -> list[Sheet | Text]:
    """Return the comparison for the terminal, one sheet a network; without rows that there is nothing yet."""
    return [*comparison_sheets(rows)] if rows else [Text(NOTHING)]


def comparison_sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Return a sheet for each network: methods down, sparsities and costs across."""
    return [_sheet(summarise(group), reference_method(group)) for group in grouped(rows, "network").values()]


def sparsity_label(sparsity: float) -> str:
    """Return a target sparsity as a heading: 0.8926 → 89.26 %."""
    return f"{100 * sparsity:.4g} %"


def _sheet(summary: Sequence[Row], reference: str | None) -> Sheet:
    """Return the sheet of one network; costs are told at its highest sparsity, since they grow with the rounds."""
    sparsities = sorted({row["target_sparsity"] for row in summary})
    cells = {(row["method"], row["target_sparsity"]): row for row in summary}
    measured = max((row["target_sparsity"] for row in summary if row["error_barrier"] is not None), default=None)
    highest = sparsity_label(sparsities[-1])
    lines = []
    for method in _distinct(summary, "method"):
        reached = [_accuracy(cells.get((method, sparsity))) for sparsity in sparsities]
        costs = _costs(cells.get((method, sparsities[-1]), {}))
        lines.append(
            [method, *reached, *costs, _barrier([row for row in summary if row["method"] == method], measured)]
        )
    headings = [
        "Method",
        *("dense" if sparsity == 0 else sparsity_label(sparsity) for sparsity in sparsities),
        f"Mask s\nto {highest}",
        "Processor s",
        "Steps a\nround",
        "Image-\ngradients",
        "× cheaper than IMP\ngradients / proc. s",
        f"Barrier %\nat {sparsity_label(measured)}" if measured else "Barrier %",
    ]
    return Sheet(headings, lines, str(summary[0]["network"]), _note(summary, reference))


def _accuracy(row: Row | None) -> str:
    if row is None:
        return ABSENT
    spread = "" if row["test_accuracy_std"] is None else f" ± {percent(row['test_accuracy_std'])}"
    lost = f" †{row['collapsed']}" if row["collapsed"] else ""
    return f"{percent(row['test_accuracy'])}{spread}{lost}"


def _costs(row: Row) -> list[str]:
    seconds = [row.get("mask_seconds"), row.get("mask_processor_seconds")]
    ratios = [row.get("cheaper_in_image_gradients"), row.get("cheaper_in_processor_seconds")]
    return [
        *(ABSENT if value is None else f"{value:,.1f}" for value in seconds),
        ABSENT if row.get("steps") is None else f"{row['steps']:,}",
        magnitude(row.get("mask_image_gradients")),
        ABSENT if ratios == [None, None] else " / ".join(map(_times, ratios)),
    ]


def _times(ratio: float | None) -> str:
    return ABSENT if ratio is None else f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2g}"


def _barrier(rows: Sequence[Row], usual: float | None) -> str:
    measured = [row for row in rows if row["error_barrier"] is not None]
    if not measured:
        return ABSENT
    row = max(measured, key=lambda row: float(row["target_sparsity"]))
    at, barrier = row["target_sparsity"], percent(row["error_barrier"])
    if at == 0:
        return f"{barrier} (dense)"
    return barrier if at == usual else f"{barrier} (at {sparsity_label(at)})"


def _note(summary: Sequence[Row], reference: str | None) -> str:
    least, most = (choose(row["seeds"] for row in summary) for choose in (min, max))
    seeds = str(most) if least == most else f"{least} to {most}"
    text = f"Test accuracy in %, mean ± sample standard deviation over {seeds} seed{'s' if most > 1 else ''}."
    if any(row["collapsed"] for row in summary):
        text += (
            " †n: n of them collapsed, diverged or had a mask that left nothing to train with; they count in the mean "
            "with the accuracy that they have, if any."
        )
    if reference is not None:
        text += f" IMP is {reference}."
    return f"{text} {prunable_sentence(summary[0])}".rstrip()


def _distinct(rows: Sequence[Row], column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows))
