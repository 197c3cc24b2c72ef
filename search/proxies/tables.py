"""The answers of a proxy evaluation for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from search.output.numbers import ABSENT, magnitude, percent
from search.proxies.cells import Row, difference, plain, seconds, with_interval
from search.proxies.standings import baseline_of, by_spearman, in_subset, top_sets

NOTHING = "Nothing of the proxy evaluation is finished yet."
"""What is said where there is no row."""

AT_RANDOM = "at random"
"""What the control of the regrets is called."""

_TOP_SETS = 2
_CHOSEN = (1, 5)


def proxy_tables(answers: Sequence[Row], subsets: Sequence[Row], regrets: Sequence[Row]) -> list[Table]:
    """Return how well the scores rank and what choosing by them costs: two tables, the best score first.

    Each fits into 90 columns: names are folded, figures never. Without rows it is one table that says so.
    """
    if not answers:
        told = Table.grid()
        told.add_row(Text(NOTHING))
        return [told]
    ordered = by_spearman(answers)
    return [_ranking(ordered, subsets), _costs(ordered, regrets)]


def _ranking(answers: Sequence[Row], subsets: Sequence[Row]) -> Table:
    tops, baseline = top_sets(subsets)[:_TOP_SETS], baseline_of(answers)
    headings = ["Spearman\n[95 % interval]", "Kendall", *(top.replace("top ", "In top\n") for top in tops)]
    lines = []
    for row in answers:
        inside = [in_subset(subsets, row["proxy"], top) for top in tops]
        cells = [with_interval(row, "spearman"), plain(row["kendall"])]
        cells += [ABSENT if found is None else plain(found["spearman"]) for found in inside]
        lines.append([row["proxy"], *cells, *([difference(row)] if baseline else [])])
    if baseline:
        headings.append(f"Spearman against\n{_shortened(baseline)}")
    return _table("How well the scores rank", headings, lines)


def _costs(answers: Sequence[Row], regrets: Sequence[Row]) -> Table:
    chosen = [k for k in _CHOSEN if any(row["k"] == k for row in regrets)]
    found = {(row["proxy"], row["k"]): row["regret"] for row in regrets}
    headings = [f"Points lost\nby top {k}" for k in chosen]
    headings += ["Seconds an\narchitecture", "Image-\ngradients", "FLOPs"]
    lines = []
    for row in answers:
        lost = [percent(found.get((row["proxy"], k))) for k in chosen]
        spent = [seconds(row["seconds"]), magnitude(row["image_gradients"]), magnitude(row["flops"])]
        lines.append([row["proxy"], *lost, *spent])
    if chosen:
        control = {row["k"]: row["random_regret"] for row in regrets}
        lines.append([AT_RANDOM, *(percent(control[k]) for k in chosen), *[ABSENT] * 3])
    return _table("What choosing by them costs", headings, lines)


def _table(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title=Text(f"\n{title}"), title_justify="left")
    table.add_column("Proxy", overflow="fold", min_width=6)
    for heading, *cells in zip(headings, *(line[1:] for line in lines), strict=True):
        width = max(len(text) for text in [*heading.split("\n"), *cells])
        table.add_column(Text(heading), justify="right", no_wrap=True, min_width=width)
    for line in lines:
        table.add_row(*map(Text, line))  # Text, not str: a name holding "[…]" is not markup
    return table


def _shortened(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
