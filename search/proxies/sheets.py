"""The answers of a proxy evaluation for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from search.output.numbers import ABSENT, magnitude, percent
from search.output.sheet import Sheet
from search.proxies.cells import Row, difference, plain, seconds, with_interval
from search.proxies.standings import baseline_of, by_spearman, in_subset, top_sets

NOTHING = "Nothing of the proxy evaluation is finished yet."
"""What is said where there is no row."""

AT_RANDOM = "at random"
"""What the control of the regrets is called."""

_TOP_SETS = 2
_CHOSEN = (1, 5)


def proxy_sheets(answers: Sequence[Row], subsets: Sequence[Row], regrets: Sequence[Row]) -> list[Sheet | Text]:
    """Return how well the scores rank and what choosing by them costs: two sheets, the best score first.

    Each fits into 90 columns. Without rows it is said that there is nothing yet.
    """
    if not answers:
        return [Text(NOTHING)]
    ordered = by_spearman(answers)
    return [_ranking(ordered, subsets), _costs(ordered, regrets)]


def _ranking(answers: Sequence[Row], subsets: Sequence[Row]) -> Sheet:
    tops, baseline = top_sets(subsets)[:_TOP_SETS], baseline_of(answers)
    headings = ["Proxy", "Spearman\n[95 % interval]", "Kendall", *(top.replace("top ", "In top\n") for top in tops)]
    lines = []
    for row in answers:
        inside = [in_subset(subsets, row["proxy"], top) for top in tops]
        cells = [with_interval(row, "spearman"), plain(row["kendall"])]
        cells += [ABSENT if found is None else plain(found["spearman"]) for found in inside]
        lines.append([row["proxy"], *cells, *([difference(row)] if baseline else [])])
    if baseline:
        headings.append(f"Spearman against\n{_shortened(baseline)}")
    return Sheet(headings, lines, "How well the scores rank")


def _costs(answers: Sequence[Row], regrets: Sequence[Row]) -> Sheet:
    chosen = [k for k in _CHOSEN if any(row["k"] == k for row in regrets)]
    found = {(row["proxy"], row["k"]): row["regret"] for row in regrets}
    headings = ["Proxy", *(f"Points lost\nby top {k}" for k in chosen)]
    headings += ["Seconds an\narchitecture", "Image-\ngradients", "FLOPs"]
    lines = []
    for row in answers:
        lost = [percent(found.get((row["proxy"], k))) for k in chosen]
        spent = [seconds(row["seconds"]), magnitude(row["image_gradients"]), magnitude(row["flops"])]
        lines.append([row["proxy"], *lost, *spent])
    if chosen:
        control = {row["k"]: row["random_regret"] for row in regrets}
        lines.append([AT_RANDOM, *(percent(control[k]) for k in chosen), *[ABSENT] * 3])
    return Sheet(headings, lines, "What choosing by them costs")


def _shortened(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
