"""What the audit says: candidates drawn at random from those not promoted, retrained beside the promoted ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest

from search.output.numbers import count, percent, plural

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """How many of the audited models were better, and the interval for the share of all that were not promoted."""

    better: int
    low: float
    high: float


@dataclass(frozen=True)
class Audit:
    """The audited candidates against the promoted ones, by test accuracy (fractions in [0, 1]).

    Attributes:
        audited: how many candidates were drawn at first.
        lost: those of them that came to nothing and could not be retrained; they count as worse than any model.
        further: how many of those drawn in their place were retrained.
        population: how many they were drawn from.
        best_audited: the highest test accuracy among them, further ones included.
        best_promoted: that among the promoted ones.
        beat_worst: those that are better than the worst promoted model.
        beat_best: those that are better than the best promoted model.
    """

    audited: int
    lost: int
    further: int
    population: int
    best_audited: float
    best_promoted: float
    beat_worst: Share
    beat_best: Share

    @property
    def regret(self) -> float:
        """By how much the best audited model is better than the best promoted one, at least 0."""
        return max(0.0, self.best_audited - self.best_promoted)


def audit_of(
    leaderboard: Sequence[Mapping[str, Any]], population: int, lost: int = 0, further: Collection[int] = ()
) -> Audit | None:
    """Return what the audited models of the leaderboard say about the `population` that they were drawn from.

    The draw is uniform, so the share of audited candidates that are better estimates without bias the share of the
    population that is, if the `lost` ones, whose weights collapsed or whose trial failed, count as not better. The
    trials `further` were drawn because some were lost, and until enough were not: counted in, they would make
    candidates that come to something look more frequent than they are. So shares are of those drawn at first, while
    the best of all drawn tells the regret. The interval is Clopper and Pearson's ("The Use of Confidence or
    Fiducial Limits Illustrated in the Case of the Binomial", 1934) at 95 %; drawing without replacement makes it,
    if anything, too wide.

    None is returned without an audited model, and without a promoted one to compare it with.
    """
    audited = [row["test_accuracy"] for row in leaderboard if row["audited"]]
    first = [row["test_accuracy"] for row in leaderboard if row["audited"] and row["trial"] not in further]
    promoted = [row["test_accuracy"] for row in leaderboard if not row["audited"]]
    if not audited or not promoted:
        return None
    return Audit(
        audited=len(first) + lost,
        lost=lost,
        further=len(audited) - len(first),
        population=population,
        best_audited=max(audited),
        best_promoted=max(promoted),
        beat_worst=_share(first, min(promoted), lost),
        beat_best=_share(first, max(promoted), lost),
    )


def _share(accuracies: Sequence[float], level: float, lost: int) -> Share:
    better = sum(accuracy > level for accuracy in accuracies)
    interval = binomtest(better, len(accuracies) + lost).proportion_ci(CONFIDENCE, method="exact")
    return Share(better, float(interval.low), float(interval.high))


def audit_sentences(audit: Audit) -> tuple[str, ...]:
    """Return the audit in words."""
    gap = audit.best_audited - audit.best_promoted
    against = f"{percent(abs(gap), 2)} points {'above' if gap > 0 else 'below'} the best promoted one"
    where = against if gap else "as good as the best promoted one"
    what_missed = (
        f"The cheap score missed at least that much (the regret is {percent(audit.regret, 2)} points)."
        if gap > 0
        else "So the audit found nothing better than what was promoted (no regret)."
    )
    lost = (
        f" {audit.lost} of them came to nothing, as weights collapsed or the trial failed, and count as worse."
        if audit.lost
        else ""
    )
    were = "was" if audit.further == 1 else "were"
    further = (
        f" For these {plural(audit.further, 'more candidate')} {were} drawn, which the shares leave out."
        if audit.further
        else ""
    )
    return (
        f"The audit: {plural(audit.audited, 'candidate')} drawn at random from the {count(audit.population)} that were "
        f"not promoted, those stopped early included, and retrained beside the promoted ones.{lost}{further} The best "
        f"of those drawn reached {percent(audit.best_audited, 2)} % test accuracy, {where}. {what_missed}",
        f"{audit.beat_worst.better} of {audit.audited} audited candidates beat the worst promoted one and "
        f"{audit.beat_best.better} the best. With {100 * CONFIDENCE:.0f} % confidence, of all that were not promoted "
        f"{_range(audit.beat_worst)} are better than the worst promoted model, and {_range(audit.beat_best)} better "
        "than the best (Clopper–Pearson).",
    )


def _range(share: Share) -> str:
    return f"{percent(share.low)} to {percent(share.high)} %"
