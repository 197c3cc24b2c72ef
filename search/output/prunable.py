"""How many of a network's parameters a sparsity is about, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def prunable_of(row: Row) -> str | None:
    """Return `k of n` for the prunable and all parameters of a row's network; None where a run does not know them.

    Runs from before these were counted do not.
    """
    prunable, parameters = row.get("prunable_parameters"), row.get("parameters")
    return None if prunable is None or parameters is None else f"{prunable:,} of {parameters:,}"


def prunable_sentence(row: Row) -> str:
    """Return what the sparsity of a row's network is about as a sentence with the share outside; "" if unknown."""
    told = prunable_of(row)
    return "" if told is None else f"{told} parameters are prunable, {_outside(row)} are outside the sparsity."


def prunable_by_rank(rows: Sequence[Row]) -> str:
    """Return for each rank of a leaderboard how many parameters are prunable; "" if no row knows it."""
    ranks: dict[str, list[Row]] = {}
    for row in rows:
        if told := prunable_of(row):
            ranks.setdefault(told, []).append(row)
    if not ranks:
        return ""
    if len(ranks) == 1 and all(prunable_of(row) for row in rows):
        return f"Prunable are {next(iter(ranks))} parameters; {_outside(rows[0])} are outside the sparsity."
    told = "; ".join(
        f"rank {', '.join(str(row['rank']) for row in found)}: {each} ({_outside(found[0])} outside)"
        for each, found in ranks.items()
    )
    return f"Prunable parameters, which the sparsity is of: {told}."


def _outside(row: Row) -> str:
    return f"{100 * (1 - row['prunable_parameters'] / row['parameters']):.1f} %"
