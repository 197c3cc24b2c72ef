"""The answers of a proxy evaluation: how well each score ranks architectures, what it costs, what it is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dp_core.seeds import derive_seed
from search.proxies.architecture import UNITS
from search.proxies.budget import Hit, Point, first_hit, proxy_then_retrain, random_search, train_everything
from search.proxies.config import AnswersSection
from search.proxies.ranking import correlations
from search.proxies.regret import regrets
from search.proxies.scores import Column, Score
from search.proxies.significance import advantage
from search.proxies.subsets import Subset, subsets
from search.proxies.truth_table import FEWEST

RANDOM_SEARCH, TRAIN_EVERYTHING = "random search", "train everything"


@dataclass(frozen=True, eq=False)
class Answers:
    """Rows for the tables: an answer for each score, and its details.

    `overall` has one row a score, `subsets` one for each score and subset of architectures, `regrets` one for each
    score and k, `budgets` one for each score (and the two ways without one), k and unit of cost, `hits` one for each of
    these ways and units: what it takes to come near to the best; and `failures` one for each score and architecture
    without a value.
    """

    overall: list[dict[str, Any]]
    subsets: list[dict[str, Any]]
    regrets: list[dict[str, Any]]
    budgets: list[dict[str, Any]]
    hits: list[dict[str, Any]]
    failures: list[dict[str, Any]]


def answers_of(
    scores: Mapping[str, Score],
    names: Sequence[str],
    truth: Column,
    truth_costs: Mapping[str, Column],
    parameters: Sequence[int],
    settings: AnswersSection,
    seed: int,
) -> Answers:
    """Return what there is to say; a score without a value on at least five architectures has no correlation.

    Args:
        scores: by name.
        names: the architectures, in the order of the rows of all columns [N].
        truth: true accuracies [N], NaN where unknown.
        truth_costs: by unit [N], what it takes to know the truth; empty if unknown.
        parameters: of the architectures.
        settings: baseline and bootstrap.
        seed: of the bootstrap.
    """
    seed = derive_seed(seed, "bootstrap")
    parts = subsets(truth, np.array(parameters))
    baseline = settings.baseline if settings.baseline in scores else None
    overall: list[dict[str, Any]] = []
    of_subsets: list[dict[str, Any]] = []
    of_k: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for name, score in scores.items():
        failures += [
            {"proxy": name, "architecture": names[row], "reason": reason} for row, reason in score.failures.items()
        ]
        if not score.failures and not (np.isfinite(score.values) & np.isfinite(truth)).any():
            continue
        overall.append(_overall(name, score, scores, baseline, truth, settings, seed))
        if not overall[-1]["architectures"]:
            continue
        of_subsets += [_of_subset(name, score, part, truth, settings, seed) for part in parts]
        of_k += [
            {"proxy": name, "k": found.k, "regret": found.regret, "random_regret": found.at_random}
            for found in regrets(score.values, truth)
        ]
    answered = {row["proxy"]: scores[row["proxy"]] for row in overall if row["architectures"]}
    budgets = _budgets(answered, truth, truth_costs)
    hits = _hits(answered, truth, truth_costs, settings.within)
    return Answers(overall, of_subsets, of_k, budgets, hits, failures)


def _overall(
    name: str,
    score: Score,
    scores: Mapping[str, Score],
    baseline: str | None,
    truth: Column,
    settings: AnswersSection,
    seed: int,
) -> dict[str, Any]:
    usable = np.isfinite(score.values) & np.isfinite(truth)
    better = None
    if baseline is not None and name != baseline and usable.sum() >= FEWEST:
        better = advantage(score.values, scores[baseline].values, truth, seed, resamples=settings.resamples)
    return {
        "proxy": name,
        "kind": score.kind,
        "architectures": int(usable.sum()),
        "failed": len(score.failures),
        **_correlated(score.values, truth, settings, seed, fewest=FEWEST),
        **{unit: _mean(score.costs[unit]) for unit in UNITS},
        "baseline": baseline,
        "advantage": better and better.mean,
        "advantage_low": better and better.low,
        "advantage_high": better and better.high,
    }


def _of_subset(
    name: str, score: Score, part: Subset, truth: Column, settings: AnswersSection, seed: int
) -> dict[str, Any]:
    values, true = score.values[part.indices], truth[part.indices]
    count = int((np.isfinite(values) & np.isfinite(true)).sum())
    found = _correlated(values, true, settings, seed)
    return {"proxy": name, "subset": part.name, "architectures": count, **found}


def _correlated(values: Column, truth: Column, settings: AnswersSection, seed: int, fewest: int = 0) -> dict[str, Any]:
    enough = (np.isfinite(values) & np.isfinite(truth)).sum() >= fewest
    found = correlations(values, truth, seed, resamples=settings.resamples) if enough else None
    keys = [f"{kind}{end}" for kind in ("spearman", "kendall") for end in ("", "_low", "_high")]
    return {key: None if found is None else asdict(found)[key] for key in keys}


def _budgets(scores: Mapping[str, Score], truth: Column, truth_costs: Mapping[str, Column]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for unit, costs in truth_costs.items():
        whole = train_everything(truth, costs)
        curves: dict[str, list[Point]] = {
            RANDOM_SEARCH: random_search(truth, costs),
            TRAIN_EVERYTHING: [] if whole is None else [whole],
            **{
                name: proxy_then_retrain(score.values, truth, score.costs[unit], costs)
                for name, score in scores.items()
            },
        }
        rows += [{"proxy": name, "unit": unit, **asdict(point)} for name, points in curves.items() for point in points]
    return rows


def _hits(
    scores: Mapping[str, Score], truth: Column, truth_costs: Mapping[str, Column], within: float
) -> list[dict[str, Any]]:
    rows = []
    for unit, costs in truth_costs.items():
        whole, nothing = train_everything(truth, costs), np.zeros(len(truth))
        found: dict[str, Hit | None] = {
            RANDOM_SEARCH: first_hit(nothing, truth, nothing, costs, within),
            TRAIN_EVERYTHING: None if whole is None else Hit(whole.k, whole.cost),
        }
        for name, score in scores.items():
            found[name] = first_hit(score.values, truth, score.costs[unit], costs, within)
        rows += [{"proxy": name, "unit": unit, **asdict(hit)} for name, hit in found.items() if hit is not None]
    return rows


def _mean(costs: Column) -> float | None:
    known = costs[np.isfinite(costs)]
    return float(known.mean()) if len(known) else None
