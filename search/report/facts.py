"""What the report says in words and totals, from the rows of the run's tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.report.formats import accuracy, count, duration, magnitude, percent, plural, proxy
from search.report.statistics import MINIMUM_PAIRS, RankCorrelation, rank_correlation

Row = Mapping[str, Any]

_UNFINISHED = ("RUNNING", "WAITING")


@dataclass(frozen=True)
class Card:
    """One headline figure: what it is, its value, and a line of detail."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class SourceCost:
    """What screening on one source of training data cost, over all its trials."""

    source: str
    trials: int
    seconds: float
    image_gradients: int
    median_seconds: float
    best_proxy_accuracy: float | None
    best_proxy_accuracy_sem: float | None


@dataclass(frozen=True)
class Trust:
    """Whether the cheap score ordered the retrained models as the test did."""

    verdict: str
    details: tuple[str, ...]
    correlation: RankCorrelation | None


def is_finished(trials: Sequence[Row], leaderboard: Sequence[Row]) -> bool:
    """Return whether no trial is left to run and at least one model was retrained."""
    return bool(leaderboard) and not any(row["state"] in _UNFINISHED for row in trials)


def headline(trials: Sequence[Row], leaderboard: Sequence[Row]) -> str:
    """Return the run's result in a sentence or two."""
    if leaderboard:
        best = min(leaderboard, key=lambda row: row["rank"])
        score = accuracy(best["test_accuracy"], best["test_accuracy_std"], best["seeds"])
        seeds = f" (mean ± standard deviation over {best['seeds']} seeds)" if best["seeds"] > 1 else ""
        return (
            f"The best model is trial {best['trial']}, {best['architecture']}: {score} % test accuracy{seeds} at "
            f"{percent(best['sparsity'])} % sparsity, with {count(best['parameters_left'])} parameters left. "
            f"Screening it on {best['source']} images took {duration(best['screening_seconds'])}; retraining it on "
            f"real images took {duration(best['retraining_seconds'])}."
        )
    scored = [row for row in trials if row["state"] == "COMPLETE" and _finite(row["proxy_accuracy"])]
    if not scored:
        return "No trial has finished and no model has been retrained yet."
    best = max(scored, key=lambda row: row["proxy_accuracy"])
    return (
        "No model has been retrained yet. The highest proxy accuracy so far is "
        f"{proxy(best['proxy_accuracy'], best['proxy_accuracy_sem'])} %, by trial {best['trial']}, "
        f"{best['architecture']}, at {percent(best['sparsity'])} % sparsity."
    )


def cards(trials: Sequence[Row], leaderboard: Sequence[Row]) -> list[Card]:
    """Return the headline figures: trials, stopped, failed, and what screening and retraining cost."""
    states = [row["state"] for row in trials]
    unfinished = sum(states.count(state) for state in _UNFINISHED)
    retraining = sum(row["retraining_seconds"] for row in leaderboard)
    gradients = sum(row["image_gradients"] or 0 for row in trials)
    screening = sum(row["seconds"] or 0.0 for row in trials)
    return [
        Card("Trials", count(len(trials)), f"{count(unfinished)} unfinished" if unfinished else "all finished"),
        Card("Completed", count(states.count("COMPLETE")), "reached their last round"),
        Card("Stopped early", count(states.count("PRUNED")), "by the scheduler"),
        Card("Failed", count(states.count("FAIL")), "reasons below" if "FAIL" in states else "none"),
        Card("Screening", duration(screening), f"all trials, {magnitude(gradients)} image-gradients"),
        Card("Retraining", duration(retraining if leaderboard else None), plural(len(leaderboard), "model")),
    ]


def cost_by_source(trials: Sequence[Row]) -> list[SourceCost]:
    """Return what screening cost for each source, the costliest first; trials without a round cost nothing."""
    costs = []
    for source in sorted({row["source"] for row in trials if row["seconds"] is not None}):
        rows = [row for row in trials if row["source"] == source and row["seconds"] is not None]
        # Of completed trials alone: those that ended in an early round were not yet as sparse.
        completed = [row for row in rows if row["state"] == "COMPLETE" and _finite(row["proxy_accuracy"])]
        best = max(completed, key=lambda row: row["proxy_accuracy"], default=None)
        costs.append(
            SourceCost(
                source,
                len(rows),
                sum(row["seconds"] for row in rows),
                sum(row["image_gradients"] or 0 for row in rows),
                statistics.median(row["seconds"] for row in rows),
                None if best is None else best["proxy_accuracy"],
                None if best is None else best["proxy_accuracy_sem"],
            )
        )
    return sorted(costs, key=lambda cost: -cost.seconds)


def replicates(trials: Sequence[Row], leaderboard: Sequence[Row]) -> int:
    """Return over how many replicates the proxy accuracies are means; 1 where they are none, or none is known."""
    return max((row["replicates"] or 1 for row in [*trials, *leaderboard]), default=1)


def unsuccessful(trials: Sequence[Row]) -> list[Row]:
    """Return the failed trials, then those stopped early, each in the order of their numbers."""
    chosen = [row for row in trials if row["state"] in ("FAIL", "PRUNED")]
    return sorted(chosen, key=lambda row: (row["state"] != "FAIL", row["trial"]))


def trust(leaderboard: Sequence[Row], seed: int = 0) -> Trust:
    """Return what the retrained models say about the cheap score, and plainly when they say nothing.

    Proxy accuracies of different sources are not on one scale, so models are compared within their source: the verdict
    is about the source with most models, the details about each.
    """
    rows = [row for row in leaderboard if _finite(row["proxy_accuracy"]) and _finite(row["test_accuracy"])]
    if not rows:
        return Trust("Nothing can be said yet: no model has been retrained.", (), None)
    sources = sorted({row["source"] for row in rows})
    groups = [[row for row in rows if row["source"] == source] for source in sources]
    details = tuple(_regret(group) for group in groups if len(group) > 1)
    if len(groups) > 1:
        details = (_ONE_SCALE, *details)
    largest = max(groups, key=len)
    if len(largest) < MINIMUM_PAIRS:
        models = "model was" if len(largest) == 1 else "models were"
        of_one = " of one source" if len(groups) > 1 else ""
        verdict = (
            f"Too few to say: only {len(largest)} {models} retrained{of_one}, and a rank correlation needs at least "
            f"{MINIMUM_PAIRS}. Retrain more to find out."
        )
        return Trust(verdict, details, None)
    found = rank_correlation([r["proxy_accuracy"] for r in largest], [r["test_accuracy"] for r in largest], seed)
    if found is None:
        return Trust("Nothing can be said: the models all have the same score.", details, None)
    return Trust(_verdict(found), (_correlation(found, largest[0]["source"]), *details, _PROMOTED_ONLY), found)


_ONE_SCALE = (
    "Proxy accuracies of different sources are not on one scale, so models are compared with those of their own "
    "source; the sources themselves are compared by the leaderboard."
)
_PROMOTED_ONLY = (
    "Only promoted candidates were retrained. The correlation tells how the cheap score orders the best of them, and "
    "nothing about the candidates that it rejected."
)


def _verdict(found: RankCorrelation) -> str:
    if found.low > 0:
        return "Within limits, yes: the cheap score ordered the retrained models better than chance."
    if found.high < 0:
        return "No: the cheap score ordered the retrained models worse than chance."
    return "Not shown: the interval includes zero, so these models do not tell the cheap score's order from chance."


def _correlation(found: RankCorrelation, source: str) -> str:
    return (
        f"Over {found.pairs} retrained models screened on {source} images the Spearman rank correlation of proxy "
        f"accuracy with test accuracy is {found.rho:+.2f}; its {100 * found.confidence:.0f} % bootstrap interval goes "
        f"from {found.low:+.2f} to {found.high:+.2f}."
    )


def _regret(rows: Sequence[Row]) -> str:
    best = max(row["test_accuracy"] for row in rows)
    chosen = max(rows, key=lambda row: row["proxy_accuracy"])
    loss = best - chosen["test_accuracy"]
    source = chosen["source"]
    pick = (
        f"Among the models screened on {source} images the cheap score alone would have picked trial {chosen['trial']}"
    )
    if loss == 0:
        return f"{pick}, the best of those retrained."
    return f"{pick}, {100 * loss:.2f} points of test accuracy below the best of those retrained (the regret)."


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
