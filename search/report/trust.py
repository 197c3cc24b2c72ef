"""Whether the cheap score can be trusted, from the models that were retrained on real images."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from search.output.numbers import count
from search.output.rank_correlation import MINIMUM_PAIRS, RankCorrelation, rank_correlation
from search.report.audit import audit_of, audit_sentences
from search.report.facts import Row
from search.report.rival import is_no_better, rival_detail, rival_sentence
from search.report.weighted import Advantage, weighted_advantage, weighted_correlation

_FEWEST_AUDITED = 2
"""With one audited model there would be no telling how much another draw would have changed."""


@dataclass(frozen=True)
class Trust:
    """Whether the cheap score ordered the retrained models as the test did.

    Attributes:
        verdict: in a few sentences.
        details: the figures behind it, a paragraph each.
        promoted: the rank correlation among the promoted models.
        overall: that estimated for all candidates, promoted or not, with the help of the audit.
        alarm: the cheap score is no better than the parameter count, as the verdict's first sentence says.
    """

    verdict: str
    details: tuple[str, ...] = ()
    promoted: RankCorrelation | None = None
    overall: RankCorrelation | None = None
    alarm: bool = False


def trust(
    leaderboard: Sequence[Row], population: int = 0, lost: int = 0, further: Collection[int] = (), seed: int = 0
) -> Trust:
    """Return what the retrained models say about the cheap score, and plainly when they say nothing.

    Proxy accuracies of different sources are not on one scale, so models are compared within their source: the verdict
    is about the source with most models, the details about each.

    Args:
        leaderboard: rows of that table, all retrained by one recipe.
        population: how many candidates the audited ones were drawn from.
        lost: how many of those drawn at first could not be retrained, see `audit_of`.
        further: trials drawn in place of these.
        seed: of the bootstraps.
    """
    rows = [row for row in leaderboard if _finite(row["proxy_accuracy"]) and _finite(row["test_accuracy"])]
    if not rows:
        return Trust("Nothing can be said yet: no model has been retrained.")
    sources = sorted({row["source"] for row in rows})
    groups = [[row for row in rows if row["source"] == source] for source in sources]
    details = [_ONE_SCALE] if len(groups) > 1 else []
    details += [_IPC_SCALE] if any(len({row["ipc"] for row in group}) > 1 for group in groups) else []
    details += [_regret(promoted) for group in groups if len(promoted := _promoted(group)) > 1]
    if (audit := audit_of(rows, population, lost, further)) is not None:
        details += audit_sentences(audit)
    largest = max(groups, key=len)
    return _judged(largest, _weight(rows, population, lost, further), len(groups) > 1, details, seed)


def _weight(rows: Sequence[Row], population: int, lost: int, further: Collection[int]) -> float:
    """Return for how many candidates an audited model stands; NaN where nobody was drawn, or it is not said from whom.

    Of the n candidates drawn at first the share s that was retrained estimates without bias that of the population that
    could be. Whoever was drawn first or further and retrained is a uniform sample of these s · population candidates,
    and stands for as many of them as any other; without further ones that is population / n.
    """
    audited = [row["trial"] for row in rows if row["audited"]]
    first = sum(trial not in further for trial in audited)
    if first == 0 or population < len(audited):
        return math.nan  # with none of the first retrained, how many of the population could be is not known
    return max(1.0, population * first / (first + lost) / len(audited))


def _judged(rows: Sequence[Row], weight: float, one_of_several: bool, details: Sequence[str], seed: int) -> Trust:
    """Return the judgement on one source, of which each audited model stands for `weight` candidates."""
    few = _promoted(rows)
    promoted = rank_correlation([r["proxy_accuracy"] for r in few], [r["test_accuracy"] for r in few], seed)
    overall = None
    if weight >= 1 and sum(row["audited"] for row in rows) >= _FEWEST_AUDITED:
        overall = weighted_correlation(*_sample(rows, "proxy_accuracy", weight), seed)
    found = overall or promoted
    if found is None:
        return Trust(_too_few(rows, few, one_of_several), tuple(details))
    chosen = rows if overall is not None else few
    advantage = _advantage(chosen, weight, seed)
    source = rows[0]["source"]
    told = [_overall(overall, source, weight)] if overall is not None else []
    told += [_among_promoted(promoted, source)] if promoted is not None else []
    told += [rival_detail(advantage)] if advantage is not None else []
    told += [*details, _PROMOTED_ONLY if overall is None else _HOW_ALL]
    alarm = advantage is not None and is_no_better(advantage)
    whom = "all candidates" if overall is not None else "the retrained models"
    return Trust(_verdict(found, advantage, whom), tuple(told), promoted, overall, alarm)


def _sample(rows: Sequence[Row], column: str, weight: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return a column, test accuracy, weights and strata, all [N]."""
    audited = np.array([row["audited"] for row in rows])
    values, truth = (np.array([row[name] for row in rows], float) for name in (column, "test_accuracy"))
    return values, truth, np.where(audited, weight, 1.0), audited.astype(np.int64)


def _advantage(rows: Sequence[Row], weight: float, seed: int) -> Advantage | None:
    proxy, truth, weights, strata = _sample(rows, "proxy_accuracy", weight)
    parameters = np.array([row["parameters_left"] for row in rows], float)
    return weighted_advantage(proxy, parameters, truth, weights, strata, seed)


_ONE_SCALE = (
    "Proxy accuracies of different sources are not on one scale, so models are compared with those of their own "
    "source; the sources themselves are compared by the leaderboard."
)
_IPC_SCALE = (
    "Nor are those of different numbers of images a class, which are compared here all the same: a last rung on real "
    "images (search.ladder.real_epochs) would put them on one."
)
_PROMOTED_ONLY = (
    "Only promoted candidates were retrained, or too few others. The correlation tells how the cheap score orders the "
    "best of them, and nothing about the candidates that it rejected."
)
_HOW_ALL = (
    "Promoted candidates were retrained for certain, audited ones by chance. Giving each audited model the weight of "
    "the candidates it stands for (inverse-probability weighting of ranks and correlation) undoes that choice; the "
    "interval resamples promoted and audited models apart. With few audited models it is a rough one."
)


def _verdict(found: RankCorrelation, advantage: Advantage | None, whom: str) -> str:
    if found.low > 0:
        order = f"Within limits, yes: the cheap score ordered {whom} better than chance."
    elif found.high < 0:
        order = f"No: the cheap score ordered {whom} worse than chance."
    else:
        order = (
            "Not shown: the interval includes zero, so these models do not tell the cheap score's order from chance."
        )
    rival = rival_sentence(advantage)
    # What speaks against the cheap score comes first.
    return f"{rival} {order}" if advantage is not None and advantage.low <= 0 else f"{order} {rival}"


def _too_few(rows: Sequence[Row], promoted: Sequence[Row], one_of_several: bool) -> str:
    alike = "Nothing can be said: the models all have the same proxy accuracy, or all the same test accuracy."
    if len(promoted) >= MINIMUM_PAIRS:
        return f"{alike} {rival_sentence(None)}"
    models = "model was" if len(rows) == 1 else "models were"
    of_one = " of one source" if one_of_several else ""
    return (
        f"Too few to say: only {len(rows)} {models} retrained{of_one}, and a rank correlation needs at least "
        f"{MINIMUM_PAIRS} that were promoted, or {MINIMUM_PAIRS} of which {_FEWEST_AUDITED} were drawn for the audit. "
        f"Retrain more to find out. {rival_sentence(None)}"
    )


def _overall(found: RankCorrelation, source: str, weight: float) -> str:
    return (
        f"Over all candidates screened on {source} images, promoted or not, the Spearman rank correlation of proxy "
        f"accuracy with test accuracy is estimated as {_figures(found)}. It is of {found.pairs} retrained models, of "
        f"which each audited one stands for {count(weight)} candidates."
    )


def _among_promoted(found: RankCorrelation, source: str) -> str:
    return (
        f"Over {found.pairs} promoted models screened on {source} images alone the Spearman rank correlation of proxy "
        f"accuracy with test accuracy is {_figures(found)}."
    )


def _figures(found: RankCorrelation) -> str:
    interval = f"{100 * found.confidence:.0f} % bootstrap interval goes from {found.low:+.2f} to {found.high:+.2f}"
    return f"{found.rho:+.2f}; its {interval}"


def _regret(rows: Sequence[Row]) -> str:
    best = max(row["test_accuracy"] for row in rows)
    chosen = max(rows, key=lambda row: row["proxy_accuracy"])
    loss = best - chosen["test_accuracy"]
    pick = (
        f"Among the promoted models screened on {chosen['source']} images the cheap score alone would have picked "
        f"trial {chosen['trial']}"
    )
    if loss == 0:
        return f"{pick}, the best of them."
    return f"{pick}, {100 * loss:.2f} points of test accuracy below the best of them (the regret)."


def _promoted(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not row["audited"]]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
