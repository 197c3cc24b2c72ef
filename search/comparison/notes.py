"""What a reader has to know of the figures of a comparison, in plain words and as far as its rows give reason."""

from __future__ import annotations

from collections.abc import Sequence

from search.comparison.statistics import Row
from search.output.numbers import duration, magnitude
from search.output.rows import finite, grouped

_COSTS = (
    "Seconds and image-gradients of a mask are those of its own rounds, or of the scores of an untrained network; what "
    "starts from another mask has that one's added, and a control has those of the method that it is about. Trying "
    "learning rates is not counted, and making a distilled set in the section of its own only."
)


def notes(rows: Sequence[Row]) -> list[str]:
    """Return sentences on costs, spread, preprocessing, barriers and collapse that hold for tables and plots alike."""
    found = [" ".join([_COSTS, *_costs_of_sets(rows)]), _spread(rows), _spaces(rows)]
    if finite(rows, "error_barrier"):
        found.append("Error barriers are on validation images.")
    if any(row["status"] != "finished" for row in rows):
        found.append("A seed that collapsed counts with the accuracy that it has.")
    return [note for note in found if note]


def trains_on_a_set(row: Row) -> bool:
    """Return whether the rounds of a row's method train on a distilled or ready-made set."""
    return row["source"] not in (None, "real", "subset")


def _costs_of_sets(rows: Sequence[Row]) -> list[str]:
    with_set = [row for row in rows if trains_on_a_set(row) or row.get("set_image_gradients") is not None]
    costs = [{**row, "cost": (row.get("set_image_gradients"), row.get("set_seconds"))} for row in with_set]
    told = []
    for ((gradients, seconds),), group in grouped(costs, "cost").items():
        if gradients is None:
            told.append(f"What the set of {_families(group)} cost to make is not known.")
        else:
            cost = f"{magnitude(gradients)} image-gradients and {duration(seconds)}"
            told.append(f"Making the set of {_families(group)} cost {cost}.")
    return told


def _spread(rows: Sequence[Row]) -> str:
    with_set = [row for row in rows if trains_on_a_set(row)]
    if not with_set:
        return ""
    drawn = [row for row in rows if row["source"] == "subset"]
    contrast = f"; the random images of {_families(drawn)} are drawn anew for each seed" if drawn else ""
    return f"The spread of {_families(with_set)} is over seeds with one and the same set{contrast}."


def _spaces(rows: Sequence[Row]) -> str:
    whitened = [row for row in rows if row.get("space") == "whitened"]
    if not whitened and not any(map(trains_on_a_set, rows)):
        return ""
    which = f": the rounds of {_families(whitened)} are on ZCA-whitened images" if whitened else ""
    return f"A set lives in its own preprocessing{which}. All tickets are retrained on standardised images."


def _families(rows: Sequence[Row]) -> str:
    return ", ".join(dict.fromkeys(row["family"] for row in rows))
