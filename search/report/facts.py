"""What the report says in words and totals, from the rows of the run's tables."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from optuna.trial import TrialState

from search.output.numbers import accuracy, count, duration, magnitude, percent, plural, proxy
from search.output.prunable import prunable_of
from search.study.trials import outcome_of
from trainables.screening.round import Round

Row = Mapping[str, Any]
"""Of the table of trials, or of the leaderboard."""

Rounds: TypeAlias = Mapping[int, Sequence[Round]]
"""The rounds of each trial, in order."""

_UNFINISHED = ("RUNNING", "WAITING")
_MOST_REASONS = 10


@dataclass(frozen=True)
class Card:
    """One headline figure: what it is, its value, and a line of detail."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class SourceCost:
    """What screening on one source of training data cost, over all its trials, and its best ones, one a fidelity."""

    source: str
    trials: int
    seconds: float
    image_gradients: int
    median_seconds: float
    best: tuple[Row, ...]


@dataclass(frozen=True)
class Cost:
    """Seconds, summed over trials, and image-gradients."""

    seconds: float
    image_gradients: int


def is_finished(trials: Sequence[Row], leaderboard: Sequence[Row]) -> bool:
    """Return whether no trial is left to run and at least one model was retrained."""
    return bool(leaderboard) and not any(row["state"] in _UNFINISHED for row in trials)


def headline(trials: Sequence[Row], leaderboard: Sequence[Row]) -> str:
    """Return the run's result in a sentence or two."""
    if leaderboard:
        best = min(leaderboard, key=lambda row: row["rank"])
        score = accuracy(best["test_accuracy"], best["test_accuracy_std"], best["seeds"])
        seeds = f" (mean ± standard deviation over {best['seeds']} seeds)" if best["seeds"] > 1 else ""
        drawn = " It was not promoted: it was drawn at random for the audit." if best["audited"] else ""
        return (
            f"The best model is trial {best['trial']}, {best['architecture']}: {score} % test accuracy{seeds} at "
            f"{percent(best['sparsity'])} % sparsity{_of_prunable(best)}, "
            f"with {count(best['parameters_left'])} parameters left. Screening it on {best['source']} images took "
            f"{duration(best['screening_seconds'])}; retraining it on real images took "
            f"{duration(best['retraining_seconds'])}.{drawn}"
        )
    finished = [row for row in trials if row["state"] == "COMPLETE" and _finite(row["proxy_accuracy"])]
    if not finished:
        return "No trial has finished and no model has been retrained yet."
    scored = [row for row in finished if not row["broken_constraints"]]
    if not scored:
        return f"{plural(len(finished), 'trial')} finished, but none keeps to the constraints of the search."
    highest = [
        f"{proxy(row['proxy_accuracy'], row['proxy_accuracy_sem'])} % on {row['fidelity']}, by trial {row['trial']}, "
        f"{row['architecture']}, at {percent(row['sparsity'])} % sparsity{_of_prunable(row)}"
        for row in best_by_fidelity(scored)
    ]
    if len(highest) == 1:
        return f"No model has been retrained yet. The highest proxy accuracy so far is {highest[0]}."
    apart = "No model has been retrained yet. The highest proxy accuracies so far, each on a scale of its own: "
    return f"{apart}{'; '.join(highest)}."


def best_by_fidelity(trials: Sequence[Row]) -> tuple[Row, ...]:
    """Return the trial of the highest proxy accuracy of each fidelity: those of different ones are not on one scale."""
    best: dict[str, Row] = {}
    for row in trials:
        known = best.get(row["fidelity"])
        if known is None or row["proxy_accuracy"] > known["proxy_accuracy"]:
            best[row["fidelity"]] = row
    return tuple(best[fidelity] for fidelity in sorted(best))


def outcome(row: Row) -> str:
    """Return what became of a trial, see `outcome_of`, or `rejected` or `repeated`."""
    if row["state"] in ("REJECTED", "REPEATED"):
        return str(row["state"]).lower()
    return outcome_of(TrialState[row["state"]], row["reason"])


def _of_prunable(row: Row) -> str:
    told = prunable_of(row)
    return "" if told is None else f" ({told} parameters are prunable)"


def cards(trials: Sequence[Row], leaderboard: Sequence[Row]) -> list[Card]:
    """Return the headline figures: trials, stopped, failed, never trained, and what screening and retraining cost."""
    states = [row["state"] for row in trials]
    rejected, repeated = states.count("REJECTED"), states.count("REPEATED")
    collapsed = sum(outcome(row) == "collapsed" for row in trials)
    unfinished = sum(states.count(state) for state in _UNFINISHED)
    retraining = sum(row["retraining_seconds"] for row in leaderboard)
    screening = screening_cost(trials, leaderboard)
    never_trained = [
        *([Card("Rejected", count(rejected), "broke a constraint before training")] if rejected else []),
        *([Card("Repeated", count(repeated), "proposed again, and not trained again")] if repeated else []),
    ]
    audited = sum(row["audited"] for row in leaderboard)
    of_these = f", {audited} of them for the audit" if audited else ""
    return [
        Card(
            "Trials",
            count(len(trials) - rejected - repeated),
            f"{count(unfinished)} unfinished" if unfinished else "all finished",
        ),
        Card("Completed", count(states.count("COMPLETE")), "reached their last round"),
        Card("Stopped early", count(states.count("PRUNED") - collapsed), "by the scheduler"),
        *([Card("Collapsed", count(collapsed), "no network was left of them")] if collapsed else []),
        Card("Failed", count(states.count("FAIL")), "reasons below" if "FAIL" in states else "none"),
        *never_trained,
        Card(
            "Screening",
            duration(screening.seconds),
            f"all trials, {magnitude(screening.image_gradients)} image-gradients",
        ),
        Card("Retraining", duration(retraining if leaderboard else None), plural(len(leaderboard), "model") + of_these),
    ]


def screening_cost(trials: Sequence[Row], leaderboard: Sequence[Row]) -> Cost:
    """Return what screening cost, with the rounds that trials drawn for the audit went through after they were stopped.

    The table of trials ends where they were stopped; the leaderboard has what their tickets cost in all.
    """
    whole = {
        row["trial"]: Cost(row["screening_seconds"], row["image_gradients"]) for row in leaderboard if row["audited"]
    }
    costs = [whole.get(row["trial"], Cost(row["seconds"] or 0.0, row["image_gradients"] or 0)) for row in trials]
    return Cost(sum(cost.seconds for cost in costs), sum(cost.image_gradients for cost in costs))


def rejections(trials: Sequence[Row]) -> list[tuple[str, int]]:
    """Return how many proposals each constraint rejected before training, the strictest first.

    A proposal that breaks several counts for each of them.
    """
    broken = Counter(
        name
        for row in trials
        if row["state"] == "REJECTED"
        for name in (row["broken_constraints"] or "unknown").split(", ")
    )
    return sorted(broken.items(), key=lambda item: (-item[1], item[0]))


def cost_by_source(trials: Sequence[Row]) -> list[SourceCost]:
    """Return what screening cost for each source, the costliest first; trials without a round cost nothing."""
    costs = []
    for source in sorted({row["source"] for row in trials if row["seconds"] is not None}):
        rows = [row for row in trials if row["source"] == source and row["seconds"] is not None]
        # Of completed trials alone: those that ended in an early round were not yet as sparse.
        completed = [row for row in rows if row["state"] == "COMPLETE" and _finite(row["proxy_accuracy"])]
        costs.append(
            SourceCost(
                source,
                len(rows),
                sum(row["seconds"] for row in rows),
                sum(row["image_gradients"] or 0 for row in rows),
                statistics.median(row["seconds"] for row in rows),
                best_by_fidelity(completed),
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


def reasons(trials: Sequence[Row]) -> list[tuple[str, str, int]]:
    """Return the ten most frequent outcomes and reasons of failed and stopped trials, with their numbers of trials.

    Failures come first. Figures within a reason are left out, so that those that differ in them alone are one.
    """
    found = Counter(
        (outcome(row), re.sub(r"[-+]?\d[\d.,]*", "…", row["reason"] or "not recorded")) for row in unsuccessful(trials)
    )
    ranked = sorted(found.items(), key=lambda item: (item[0][0] != "failed", -item[1], item[0]))
    return [(ending, reason, number) for (ending, reason), number in ranked[:_MOST_REASONS]]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
