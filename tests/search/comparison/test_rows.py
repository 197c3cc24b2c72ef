"""Rows put together from results, checked against ones written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.comparison.rows import result_rows, round_rows
from search.comparison.tables import RESULTS, ROUNDS
from search.output.tables import read_rows, write_table
from tests.trainables.laboratory.comparisons import DENSE, DISTILLED, ROUND, untrained
from trainables.laboratory import Cell, ComparisonFiles
from trainables.laboratory.files import write_result

IMP = replace(
    DISTILLED, name="distilled-30", family="distilled", recipe=replace(ROUND, steps=30), sparsities=(0.5, 0.8)
)
SNIP = untrained("snip", sparsities=(0.8,))
NETWORKS = {"net": {"dense": DENSE, "distilled-30": IMP, "snip": SNIP}}
NO_SET: dict[str, Any] = {"set_image_gradients": None, "set_seconds": None, "space": None}
FACTS = {
    "dense": NO_SET,
    "distilled-30": {"set_image_gradients": 50_000, "set_seconds": 12.5, "space": "whitened"},
    "snip": NO_SET,
}


def cost(sparsity: float, rounds: int, image_gradients: int) -> dict[str, Any]:
    return {
        "sparsity": sparsity,
        "rounds": rounds,
        "image_gradients": image_gradients,
        "seconds": 0.5 * rounds,
        "processor_seconds": 0.25 * rounds,
    }


def round_of(number: int, sparsity: float, status: str = "finished") -> dict[str, Any]:
    return {
        "round": number,
        "sparsity": sparsity,
        "train_loss": 1.5,
        "validation_accuracy": 0.6,
        "at_chance": False,
        "status": status,
        "reason": None,
        "image_gradients": 180 * number,
        "seconds": 0.5 * number,
        "processor_seconds": 0.25 * number,
    }


def found(tickets: list[Any], rounds: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    ended = {"status": "finished", "reason": None, "learning_rate": None}
    return {"rounds": rounds or [], "tickets": tickets, **ended, **changes}


TRAINED = {
    "sparsity": 0.497,
    "layer_densities": [{"name": "a", "density": 0.503}],
    "status": "finished",
    "reason": None,
    "validation_accuracy": 0.75,
    "validation_loss": 0.9,
    "test_accuracy": 0.7,
    "test_loss": 1.0,
    "train_learning_rate": 0.01,
    "train_image_gradients": 144,
    "train_seconds": 2.0,
    "train_processor_seconds": 1.5,
    "eigenvalue_converged": True,
    "top_eigenvalue": 12.5,
}


@pytest.fixture
def files(tmp_path: Path) -> ComparisonFiles:
    files = ComparisonFiles(tmp_path)
    rounds = [round_of(1, 0.0), round_of(2, 0.5, "collapsed")]
    search = found([cost(0.5, 1, 180)], rounds, status="collapsed", reason="no weight left", learning_rate=0.03)
    write_result(files.search(Cell("net", 0, "distilled-30")), search)
    write_result(files.training(Cell("net", 0, "distilled-30", 0.5)), TRAINED)
    return files


def test_a_row_has_what_its_search_and_its_training_found(files: ComparisonFiles) -> None:
    row = result_rows(NETWORKS, 1, files, FACTS)[0]
    assert row == {
        "network": "net",
        "seed": 0,
        "method": "distilled-30",
        "family": "distilled",
        "kind": "iterative",
        "parent": None,
        "source": "distilled",
        "space": "whitened",
        "criterion": "magnitude",
        "steps": 30,
        "learning_rate": 0.03,
        "target_sparsity": 0.5,
        "sparsity": 0.497,
        "rounds": 1,
        "mask_image_gradients": 180,
        "mask_seconds": 0.5,
        "mask_processor_seconds": 0.25,
        "set_image_gradients": 50_000,
        "set_seconds": 12.5,
        "status": "finished",
        "reason": None,
        "test_accuracy": 0.7,
        "test_loss": 1.0,
        "validation_accuracy": 0.75,
        "validation_loss": 0.9,
        "train_learning_rate": 0.01,
        "train_image_gradients": 144,
        "train_seconds": 2.0,
        "train_processor_seconds": 1.5,
        "error_barrier": None,
        "loss_barrier": None,
        "positions": None,
        "path_errors": None,
        "path_losses": None,
        "top_eigenvalue": 12.5,
        "eigenvalue_converged": True,
        "layer_densities": [{"name": "a", "density": 0.503}],
    }


def test_a_ticket_that_was_never_found_has_a_row_that_says_why(files: ComparisonFiles) -> None:
    row = result_rows(NETWORKS, 1, files, FACTS)[1]
    told = ("target_sparsity", "sparsity", "status", "reason", "test_accuracy", "rounds", "mask_image_gradients")
    assert [row[key] for key in told] == [0.8, 0.8, "collapsed", "no weight left", None, 2, None]
    assert (row["mask_seconds"], row["mask_processor_seconds"]) == (None, None)  # no mask, no cost of one


def test_what_is_not_finished_has_no_row(files: ComparisonFiles) -> None:
    write_result(files.search(Cell("net", 0, "dense")), found([cost(0.0, 0, 0)]))  # found, not trained
    assert [row["target_sparsity"] for row in result_rows(NETWORKS, 1, files, FACTS)] == [0.5, 0.8]


def test_rows_come_by_network_seed_method_and_sparsity(files: ComparisonFiles) -> None:
    for seed in (0, 1):
        write_result(files.search(Cell("net", seed, "dense")), found([cost(0.0, 0, 0)]))
        write_result(files.training(Cell("net", seed, "dense", 0.0)), {**TRAINED, "sparsity": 0.0})
    write_result(files.search(Cell("net", 1, "snip")), found([], status="collapsed", reason="x"))
    rows = result_rows(NETWORKS, 2, files, FACTS)
    assert [(row["seed"], row["method"], row["target_sparsity"]) for row in rows] == [
        (0, "dense", 0.0),
        (0, "distilled-30", 0.5),
        (0, "distilled-30", 0.8),
        (1, "dense", 0.0),
        (1, "snip", 0.8),
    ]
    dense = rows[0]
    assert (dense["criterion"], dense["steps"], dense["source"], dense["mask_image_gradients"]) == (None, None, None, 0)
    assert (rows[4]["mask_image_gradients"], rows[4]["rounds"]) == (None, 0)


def test_a_training_that_diverged_has_a_row_without_accuracy(files: ComparisonFiles) -> None:
    diverged = {key: TRAINED[key] for key in ("sparsity", "layer_densities")}
    write_result(
        files.training(Cell("net", 0, "distilled-30", 0.5)), {**diverged, "status": "diverged", "reason": "became nan"}
    )
    row = result_rows(NETWORKS, 1, files, FACTS)[0]
    assert (row["status"], row["reason"], row["test_accuracy"]) == ("diverged", "became nan", None)
    assert row["mask_image_gradients"] == 180


def test_rounds_have_rows_of_their_own(files: ComparisonFiles) -> None:
    rows = round_rows(NETWORKS, 2, files)
    assert [(row["network"], row["seed"], row["method"], row["round"]) for row in rows] == [
        ("net", 0, "distilled-30", 1),
        ("net", 0, "distilled-30", 2),
    ]
    assert [row["image_gradients"] for row in rows] == [180, 360]
    assert all("at_chance" not in row for row in rows)


def test_rows_fit_their_tables(files: ComparisonFiles, tmp_path: Path) -> None:
    sizes = {"prunable_parameters": 1000, "parameters": 1024}
    results = [{**row, **sizes} for row in result_rows(NETWORKS, 1, files, FACTS)]
    rounds = round_rows(NETWORKS, 1, files)
    write_table(tmp_path / "results.parquet", results, RESULTS)
    write_table(tmp_path / "rounds.parquet", rounds, ROUNDS)
    assert read_rows(tmp_path / "results.parquet", RESULTS) == results
    assert read_rows(tmp_path / "rounds.parquet", ROUNDS) == rounds
