"""How the score and the methods rank the same candidates."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.method_ranks import by_candidate, correlations, page


def row(trial: int, method: str, test: float, proxy: float = 0.5) -> dict[str, Any]:
    told = {"architecture": "net", "sparsity": 0.9, "parameters_left": 100 + trial}
    return {"trial": trial, "method": method, "test_accuracy": test, "proxy_accuracy": proxy, **told}


ROWS = [row(trial, "gradual", 0.1 * trial, 0.05 * trial) for trial in range(6)] + [
    row(trial, "ticket", 0.9 - 0.1 * trial, 0.05 * trial) for trial in range(6)
]


def test_only_candidates_that_all_methods_trained_are_compared() -> None:
    found = by_candidate([*ROWS, row(9, "gradual", 0.9)])
    assert [each["trial"] for each in found] == list(range(6))
    assert found[2]["tests"] == {"gradual": pytest.approx(0.2), "ticket": pytest.approx(0.7)}


def test_each_method_is_ranked_against_the_score_and_the_others() -> None:
    candidates = by_candidate(ROWS)
    found = {(line["one"], line["other"]): line["spearman"]["rho"] for line in correlations(candidates)}
    assert found == pytest.approx(
        {
            ("proxy accuracy", "test accuracy, gradual"): 1.0,
            ("proxy accuracy", "test accuracy, ticket"): -1.0,
            ("parameters left", "test accuracy, gradual"): 1.0,
            ("parameters left", "test accuracy, ticket"): -1.0,
            ("test accuracy, gradual", "test accuracy, ticket"): -1.0,
        }
    )
    text = page({"command": "winnow search x", "machine": "Linux"}, candidates, correlations(candidates))
    assert "6 candidates, each trained by every method." in text
    assert "| proxy accuracy | test accuracy, gradual | 1.00 [1.00, 1.00] |" in text
    assert "| gradual | 25.0 |" in text
