"""The parameter count as the cheap score's rival: it costs nothing, so a score must beat it to be worth anything."""

from __future__ import annotations

from search.report.weighted import Advantage


def is_no_better(advantage: Advantage) -> bool:
    """Return whether the cheap score orders the models no better than their parameter count does."""
    return advantage.difference <= 0


def rival_sentence(advantage: Advantage | None) -> str:
    """Return the comparison in one sentence for the verdict; None is that there were too few models, or all alike."""
    if advantage is None:
        return (
            "Whether the cheap score is better than counting parameters could not be found out: too few models were "
            "retrained, or all are alike."
        )
    if is_no_better(advantage):
        return "The cheap score is no better than counting parameters, which costs nothing."
    if advantage.low <= 0:
        return "The cheap score has not been shown to be better than counting parameters, which costs nothing."
    return "The cheap score is better than counting parameters."


def rival_detail(advantage: Advantage) -> str:
    """Return the figures behind the sentence."""
    return (
        f"On the same {advantage.pairs} models the number of parameters left has a rank correlation of "
        f"{advantage.rival:+.2f} with test accuracy, the cheap score {advantage.first:+.2f}: a difference of "
        f"{advantage.difference:+.2f}, with a 95 % paired bootstrap interval from {advantage.low:+.2f} to "
        f"{advantage.high:+.2f}."
    )
