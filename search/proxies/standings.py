"""Who stands where: scores in their order, in families, and against the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dp_core.proxies import PROXIES
from dp_core.proxies.distilled_training import DistilledTraining
from dp_core.proxies.short_training import ShortTraining
from search.proxies.cells import Row, known

Standing = Literal["baseline", "beats", "level", "loses", "unknown"]
"""A score against the baseline: `level` is what the interval does not tell apart, `unknown` what has no interval."""

PREFERRED = ("top 10 %", "top 20", "top 10", "top 5")
"""The sets of the truly best, those first that are worth a look first."""


def by_spearman(rows: Sequence[Row]) -> list[Row]:
    """Return the rows by Spearman's rho, the highest first; those without one keep their order at the end."""
    return sorted(rows, key=lambda row: -row["spearman"] if known(row["spearman"]) else 2.0)


def family(name: str) -> str:
    """Return what the readings of one training or pruning share: their name without the length or sparsity."""
    return name.partition("@")[0]


def families(answers: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the readings of each family, by Spearman; families in the order in which they come in `answers`."""
    names = dict.fromkeys(family(row["proxy"]) for row in answers)
    return {name: by_spearman([row for row in answers if family(row["proxy"]) == name]) for name in names}


def trains(kind: str) -> bool:
    """Return whether proxies of this kind train the architecture."""
    return kind in PROXIES and issubclass(PROXIES[kind], ShortTraining)


def distilled(kind: str) -> bool:
    """Return whether proxies of this kind are about distilled images."""
    return kind in PROXIES and issubclass(PROXIES[kind], DistilledTraining)


def combined(kind: str) -> bool:
    """Return whether this is several scores made one."""
    return kind not in PROXIES


def baseline_of(answers: Sequence[Row]) -> str | None:
    """Return the name of the score that the others are held against."""
    return next((row["baseline"] for row in answers if row["baseline"] is not None), None)


def standing(row: Row) -> Standing:
    """Return where a score stands by the interval of its advantage."""
    if row["proxy"] == row["baseline"]:
        return "baseline"
    low, high = row["advantage_low"], row["advantage_high"]
    if not known(row["advantage"]) or not known(low) or not known(high):
        return "unknown"
    return "beats" if low > 0 else "loses" if high < 0 else "level"


def top_sets(subsets: Sequence[Row]) -> list[str]:
    """Return the names of the sets of the truly best that there are, by preference."""
    there = {row["subset"] for row in subsets}
    return [name for name in PREFERRED if name in there]


def in_subset(subsets: Sequence[Row], proxy: str, subset: str) -> Row | None:
    """Return the row of a score in a subset, if there is one."""
    return next((row for row in subsets if (row["proxy"], row["subset"]) == (proxy, subset)), None)
