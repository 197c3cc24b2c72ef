"""The rows of a comparison's tables, put together from what its jobs have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.laboratory import Cell, ComparisonFiles, Method, read_result

_COSTS = ("image_gradients", "seconds", "processor_seconds")
_MEASURES = (
    "test_accuracy",
    "test_loss",
    "validation_accuracy",
    "validation_loss",
    "train_learning_rate",
    "train_image_gradients",
    "train_seconds",
    "train_processor_seconds",
    "error_barrier",
    "loss_barrier",
    "positions",
    "path_errors",
    "path_losses",
    "top_eigenvalue",
    "eigenvalue_converged",
    "layer_densities",
)


def result_rows(
    networks: Mapping[str, Mapping[str, Method]],
    seeds: int,
    files: ComparisonFiles,
    set_facts: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return a row for each network, seed, method and sparsity that is finished, or that cannot be.

    What a mask cost is None where there is no ticket. `set_facts` has, by method, the columns about its distilled set.
    """
    rows = []
    for network, methods in networks.items():
        for seed in range(seeds):
            for method in methods.values():
                found = read_result(files.search(Cell(network, seed, method.name)))
                if found is None:
                    continue
                costs = {cost["sparsity"]: cost for cost in found["tickets"]}
                for target in method.sparsities:
                    row = _row(Cell(network, seed, method.name, target), method, found, costs.get(target), files)
                    if row is not None:
                        rows.append({**row, **set_facts[method.name]})
    return rows


def _row(
    cell: Cell, method: Method, found: Mapping[str, Any], cost: Mapping[str, Any] | None, files: ComparisonFiles
) -> dict[str, Any] | None:
    row: dict[str, Any] = {
        "network": cell.network,
        "seed": cell.seed,
        **method.facts(),
        "learning_rate": found["learning_rate"],
        "target_sparsity": cell.sparsity,
        "sparsity": cell.sparsity,
        **dict.fromkeys(_MEASURES),
    }
    row["rounds"] = cost["rounds"] if cost is not None else len(found["rounds"])
    row |= {f"mask_{key}": None if cost is None else cost[key] for key in _COSTS}
    if cost is None:
        return row | {"status": found["status"], "reason": found["reason"]}
    trained = read_result(files.training(cell))
    if trained is None:
        return None
    row |= {key: trained[key] for key in (*_MEASURES, "sparsity", "status", "reason") if key in trained}
    return row


def round_rows(
    networks: Mapping[str, Mapping[str, Method]], seeds: int, files: ComparisonFiles
) -> list[dict[str, Any]]:
    """Return a row for each network, seed, method and round of finished searches."""
    return [
        {"network": network, "seed": seed, "method": name, **{key: row[key] for key in row if key != "at_chance"}}
        for network, methods in networks.items()
        for seed in range(seeds)
        for name in methods
        for row in (read_result(files.search(Cell(network, seed, name))) or {"rounds": []})["rounds"]
    ]


def with_tickets(rows: Sequence[Mapping[str, Any]], run: Path) -> list[dict[str, Any]]:
    """Return the rows with the run, and as `models` the ticket of each if it is there."""
    files = ComparisonFiles(run)
    tickets = [files.ticket(Cell(row["network"], row["seed"], row["method"], row["target_sparsity"])) for row in rows]
    return [
        {**row, "run": str(run), "models": [str(ticket)] if ticket.exists() else []}
        for row, ticket in zip(rows, tickets, strict=True)
    ]
