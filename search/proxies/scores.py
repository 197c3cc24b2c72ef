"""All scores of a space beside the truth: columns of one table, whose rows are the architectures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import UserError
from search.proxies.architecture import UNITS, Architecture, flops_of
from search.proxies.combination import fitted, rank_average
from search.proxies.config import CombinationSection
from search.proxies.names import reading_name
from search.proxies.preparation import ProxyDesign

Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Score:
    """One score of every architecture.

    Args:
        kind: the proxy's name in the registry, or how it was combined.
        values: [N], higher is better, the mean over replicates; NaN where there is none.
        costs: [N] by unit, the sum over replicates; NaN where there is no value.
        failures: why an architecture has no value, by its row.
    """

    kind: str
    values: Column
    costs: Mapping[str, Column]
    failures: Mapping[int, str]


def scores_of(
    prepared: ProxyDesign, rows: Sequence[Mapping[str, Any]], truth: Column, truth_costs: Mapping[str, Column]
) -> dict[str, Score]:
    """Return every score by the name that tables give it, those of the config's proxies before the combinations.

    An architecture has a value when all of its replicates are there. A combination that cannot be made, because too few
    architectures have all that it needs, has failed on all of them.

    Args:
        prepared: what is evaluated.
        rows: of the journal.
        truth: accuracies [N] of the architectures, NaN where unknown.
        truth_costs: of their trainings [N], by unit; empty if unknown.
    """
    config = prepared.config
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["proxy"], row["architecture"]), []).append(row)
    scores: dict[str, Score] = {}
    for name, section in config.chosen_proxies.items():
        for key in prepared.proxies[name].keys:
            cells = [
                _cell(found.get((name, architecture.label), []), key, section.replicates, architecture)
                for architecture in prepared.architectures
            ]
            scores[reading_name(name, key)] = Score(
                section.kind or name,
                np.array([cell["value"] for cell in cells]),
                {unit: np.array([cell[unit] for cell in cells]) for unit in UNITS},
                {row: cell["reason"] for row, cell in enumerate(cells) if cell["reason"] is not None},
            )
    for name, combination in config.chosen_combinations.items():
        try:
            scores[name] = _combined(combination, scores, truth, truth_costs, config.run.seed)
        except UserError as error:  # too few architectures have all that it needs, as yet or for good
            nothing = np.full(len(prepared.architectures), np.nan)
            reasons = dict.fromkeys(range(len(nothing)), str(error))
            scores[name] = Score(combination.kind, nothing, dict.fromkeys(UNITS, nothing), reasons)
    return scores


def _cell(rows: Sequence[Mapping[str, Any]], key: str, replicates: int, architecture: Architecture) -> dict[str, Any]:
    """Return value, costs and failure of one score of one architecture."""
    nothing = dict.fromkeys(("value", *UNITS), math.nan)
    failed = next((row for row in rows if row["status"] == "failed"), None)
    if failed is not None:
        return {**nothing, "reason": failed["reason"]}
    readings = [reading for row in rows for reading in row["readings"] if reading["key"] == key]
    if len(readings) < replicates:
        return {**nothing, "reason": None}
    sums = {name: sum(reading[name] for reading in readings) for name in readings[0] if name != "key"}
    return {
        **{unit: sums[unit] for unit in UNITS if unit != "flops"},
        "flops": flops_of(architecture, sums["image_gradients"], sums["forward_images"]),
        "value": sums["value"] / replicates,
        "reason": None,
    }


def _combined(
    section: CombinationSection,
    scores: Mapping[str, Score],
    truth: Column,
    truth_costs: Mapping[str, Column],
    seed: int,
) -> Score:
    """Return a combination; its cost is that of its parts, and of the trainings that it was fitted to."""
    columns = {name: scores[name].values for name in section.of}
    costs = {unit: np.sum([scores[name].costs[unit] for name in section.of], axis=0) for unit in UNITS}
    failures = {row: reason for name in section.of for row, reason in scores[name].failures.items()}
    if section.kind == "rank_average":
        return Score("rank_average", rank_average(columns), costs, failures)
    values = fitted(columns, truth, section.labelled, section.folds, seed)
    share = section.labelled / max(int(np.isfinite(truth).sum()), 1)
    for unit in UNITS:  # what the labels cost is not known of a table
        costs[unit] = costs[unit] + (share * np.nanmean(truth_costs[unit]) if unit in truth_costs else np.nan)
    return Score("fitted", values, costs, failures)
