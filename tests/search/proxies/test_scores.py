"""Scores put together from the journal: means and sums over replicates, failures, and combinations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from search.config.loader import load_config
from search.proxies.architecture import Architecture, flops_of
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.preparation import ProxyPreparation, prepare_proxies
from search.proxies.scores import Score, scores_of
from tests.search.proxies.tiny_evaluation import ARCHITECTURES, write_evaluation

FITTED = {"kind": "fitted", "of": ["parameters", "nwot"], "labelled": 6, "folds": 3}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> ProxyPreparation:
    folder = tmp_path_factory.mktemp("prepared")
    path = write_evaluation(folder, combinations={"both": {"of": ["nwot", "real@4"]}, "fitted": FITTED})
    return prepare_proxies(load_config(ProxyEvaluationConfig, path, []), "tiny.yaml", local=False)


def row(architecture: Architecture, proxy: str, replicate: int, **values: float) -> dict[str, Any]:
    """Return what the journal has of a score whose readings have these values by key ("_" for the empty one)."""
    costs = {"seconds": 1.0, "processor_seconds": 0.5, "image_gradients": 10, "forward_images": 4}
    readings = [
        {"key": key.replace("_", "").replace("at", "accuracy@"), "value": v, **costs} for key, v in values.items()
    ]
    names = {"architecture": architecture.label, "proxy": proxy, "replicate": replicate}
    return {**names, "readings": readings, "status": "finished", "reason": None}


def rows_of(prepared: ProxyPreparation) -> list[dict[str, Any]]:
    rows = []
    for number, architecture in enumerate(prepared.architectures):
        rows.append(row(architecture, "parameters", 0, _=architecture.parameters))
        rows.append(row(architecture, "nwot", 0, _=float(number**2 % 7)))
        rows += [row(architecture, "real", replicate, at2=0.1, at4=0.01 * number + replicate) for replicate in (0, 1)]
    return rows


def found(prepared: ProxyPreparation, rows: list[dict[str, Any]], known: int = ARCHITECTURES) -> dict[str, Score]:
    truth = np.where(np.arange(ARCHITECTURES) < known, np.linspace(0.1, 0.9, ARCHITECTURES), np.nan)
    return scores_of(prepared, rows, truth, {"seconds": np.full(ARCHITECTURES, 30.0), **_others(30.0)})


def _others(cost: float) -> dict[str, Any]:
    return {unit: np.full(ARCHITECTURES, cost) for unit in ("processor_seconds", "image_gradients", "flops")}


def test_values_are_means_and_costs_are_sums_over_replicates(prepared: ProxyPreparation) -> None:
    score = found(prepared, rows_of(prepared))["real@4"]
    assert score.values == pytest.approx([0.01 * number + 0.5 for number in range(ARCHITECTURES)])
    assert score.kind == "real_training"
    assert score.costs["seconds"] == pytest.approx(2.0)
    assert score.costs["image_gradients"] == pytest.approx(20)
    flops = np.array([architecture.flops for architecture in prepared.architectures])
    assert score.costs["flops"] == pytest.approx(flops * (3 * 20 + 8))


def test_an_architecture_with_a_replicate_missing_has_no_value_yet(prepared: ProxyPreparation) -> None:
    rows = [row for row in rows_of(prepared) if (row["proxy"], row["replicate"]) != ("real", 1)]
    score = found(prepared, rows)["real@4"]
    assert np.isnan(score.values).all()
    assert score.failures == {}


def test_a_failure_is_kept_with_its_reason(prepared: ProxyPreparation) -> None:
    rows = rows_of(prepared)
    rows[1] |= {"readings": [], "status": "failed", "reason": "It has no activation."}
    scores = found(prepared, rows)
    assert scores["nwot"].failures == {0: "It has no activation."}
    assert math.isnan(scores["nwot"].values[0])
    assert math.isnan(scores["both"].values[0])
    assert scores["both"].failures == {0: "It has no activation."}


def test_a_rank_average_costs_what_its_parts_cost(prepared: ProxyPreparation) -> None:
    scores = found(prepared, rows_of(prepared))
    ranks = rankdata(scores["nwot"].values) + rankdata(scores["real@4"].values)
    assert rankdata(scores["both"].values) == pytest.approx(rankdata(ranks))
    assert scores["both"].costs["seconds"] == pytest.approx(1.0 + 2.0)


def test_a_fitted_combination_pays_for_its_labels(prepared: ProxyPreparation) -> None:
    score = found(prepared, rows_of(prepared))["fitted"]
    assert score.costs["seconds"] == pytest.approx(1.0 + 1.0 + 6 / ARCHITECTURES * 30.0)
    assert np.isfinite(score.values).all()


def test_a_fitted_combination_that_cannot_be_made_says_why(prepared: ProxyPreparation) -> None:
    scores = found(prepared, rows_of(prepared), known=4)
    assert np.isnan(scores["fitted"].values).all()
    assert len(scores["fitted"].failures) == ARCHITECTURES
    assert "but only 4 have the truth" in scores["fitted"].failures[0]
    assert np.isfinite(scores["both"].values).all()


def test_a_fitted_combination_of_a_table_has_no_known_cost(prepared: ProxyPreparation) -> None:
    truth = np.linspace(0.1, 0.9, ARCHITECTURES)
    score = scores_of(prepared, rows_of(prepared), truth, {"flops": np.full(ARCHITECTURES, 1e9)})["fitted"]
    assert np.isnan(score.costs["seconds"]).all()
    assert (score.costs["flops"] > 6 / ARCHITECTURES * 1e9).all()


def test_a_backward_pass_counts_twice() -> None:
    architecture = Architecture("net", None, parameters=5, flops=100)  # type: ignore[arg-type]
    assert flops_of(architecture, image_gradients=10, forward_images=7) == 100 * (30 + 7)
    huge = flops_of(Architecture("net", None, 5, flops=306_545_921), image_gradients=10**7)  # type: ignore[arg-type]
    assert isinstance(huge, float)  # 9196377630000000 is none that Arrow takes for a column of floats
