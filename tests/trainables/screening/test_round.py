"""Rounds against rows that are written out: of today, and of journals from before there were ladders and replicates."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from trainables.screening.round import Place, Round, finite

ROW: dict[str, Any] = {
    "round": 5,
    "rung": 1,
    "rung_round": 3,
    "rung_done": True,
    "fidelity": "distilled-2",
    "score": 0.4,
    "score_sem": 0.02,
    "proxy_accuracy": 0.5,
    "proxy_accuracy_sem": 0.025,
    "proxy_loss": 1.25,
    "replicates": 2,
    "sparsity": 0.75,
    "density": 0.25,
    "prunable_parameters": 300,
    "parameters": 307,
    "parameters_left": 82,
    "flops_dense": 14208,
    "flops_remaining": 3552,
    "latency_ms": 1.5,
    "steps": 60,
    "image_gradients": 720,
    "seconds": 2.5,
}
OLD = {
    "round": 2,
    "score": 0.4,
    "proxy_accuracy": 0.5,
    "proxy_loss": 1.25,
    "sparsity": 0.75,
    "density": 0.25,
    "parameters_left": 82,
    "flops_dense": 14208,
    "flops_remaining": 3552,
    "image_gradients": 720,
    "seconds": 2.5,
}


def test_a_row_is_read_and_written_whole() -> None:
    found = Round.from_row({**ROW, "status": "running", "stop": True, "no_longer_kept": 3})
    assert (found.round, found.fidelity, found.proxy_accuracy_sem, found.flops_remaining) == (
        5,
        "distilled-2",
        0.025,
        3552,
    )
    assert found.to_row() == ROW
    assert Round.from_row(found.to_row()) == found


def test_what_earlier_versions_did_not_say_is_what_they_did() -> None:
    found = Round.from_row(OLD, fidelity="real")
    assert found.to_row() == {
        **OLD,
        "rung": 0,
        "rung_round": 2,
        "rung_done": False,
        "fidelity": "real",
        "score_sem": None,
        "proxy_accuracy_sem": None,
        "replicates": 1,
        "prunable_parameters": None,
        "parameters": None,
        "latency_ms": None,
        "steps": None,
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_cannot_hold_comes_back_as_none(value: float) -> None:
    kept = json.loads(json.dumps(finite({**ROW, "proxy_loss": value, "latency_ms": value}), allow_nan=False))
    assert (kept["proxy_loss"], kept["latency_ms"]) == (None, None)
    found = Round.from_row(kept)
    assert math.isnan(found.proxy_loss)
    assert found.latency_ms is None
    assert found.has_accuracy
    assert not Round.from_row({**kept, "proxy_accuracy": None}).has_accuracy


def test_curves_are_the_numbers_and_not_what_counts_the_rounds() -> None:
    drawn = {
        "rung", "score", "score_sem", "proxy_accuracy", "proxy_accuracy_sem", "proxy_loss", "replicates", "sparsity",
        "density", "prunable_parameters", "parameters", "parameters_left", "flops_dense", "flops_remaining",
        "latency_ms", "steps", "image_gradients", "seconds",
    }  # fmt: skip
    assert Round.from_row(ROW).curves() == {name: ROW[name] for name in drawn}
    unmeasured = Round.from_row({**ROW, "proxy_accuracy": math.nan, "proxy_accuracy_sem": None})
    assert unmeasured.curves().keys() == drawn - {"proxy_accuracy", "proxy_accuracy_sem"}


def test_places_count_the_rounds_of_the_trial_and_of_the_rung() -> None:
    place, found = None, []
    for rung, done in ((0, True), (1, False), (1, True), (3, True)):
        place = Place.after(place, rung, f"rung {rung}", done)
        found.append((place.round, place.rung, place.rung_round, place.fidelity, place.rung_done))
    assert found == [
        (1, 0, 1, "rung 0", True),
        (2, 1, 1, "rung 1", False),
        (3, 1, 2, "rung 1", True),
        (4, 3, 1, "rung 3", True),
    ]
