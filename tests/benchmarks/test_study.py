"""Several runs of other networks as one study."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.study import across_budgets, network_names, overall_differences, page, together
from dp_core.errors import UserError
from tests.search.comparison.result_rows import result

RECORDED: dict[str, Any] = {
    "command": "winnow prune x",
    "machine": "Linux",
    "python": "3.11",
    "versions": {"torch": "2"},
    "splits": {"train": 9, "validation": 3, "test": 2},
}
FIRST = [result(method, seed, network="first") for method in ("imp", "snip") for seed in range(2)]
SECOND = [result(method, seed, network="second") for method in ("imp", "snip") for seed in range(2)]


def test_networks_of_several_runs_stand_on_one_page() -> None:
    names = network_names([FIRST, SECOND], [1, 1])
    rows = together([FIRST, SECOND], names)
    text = page([RECORDED, {**RECORDED, "command": "winnow prune y"}], rows, [("imp", "snip")])
    assert rows == FIRST + SECOND
    assert text.count("\n- command: ") == 2
    assert text.count("\n- machine: ") == 1
    for network in ("first", "second"):
        assert f"| test accuracy: imp − snip | {network} | 90 % | 2 | +0.0 |" in text


def test_two_runs_of_one_network_and_length_are_refused() -> None:
    with pytest.raises(UserError, match=r"^Two of the studies have a network 'first, 1 epoch', whose results"):
        network_names([FIRST, SECOND, FIRST], [1, 1, 1])


def test_runs_of_one_network_are_told_apart_by_their_lengths() -> None:
    names = network_names([FIRST, SECOND, FIRST], [2, 2, 5])
    assert names == [{"first": "first, 2 epochs"}, {"second": "second"}, {"first": "first, 5 epochs"}]
    rows = together([FIRST, SECOND, FIRST], names)
    assert {row["network"] for row in rows} == {"first, 2 epochs", "second", "first, 5 epochs"}
    longer = [{**row, "train_image_gradients": 25_000, "test_accuracy": 0.8} for row in FIRST]
    panels = across_budgets([FIRST, SECOND, longer], names)
    assert list(panels) == ["budgets-image-gradients-first", "budgets-processor-seconds-first"]
    [panel] = panels["budgets-image-gradients-first"]
    assert {line.label: list(line.x) for line in panel.lines} == {"imp": [11_000, 26_000], "snip": [11_000, 26_000]}
    assert [list(line.y) for line in panel.lines] == [pytest.approx([70, 80])] * 2


def test_over_all_cells_a_seed_counts_with_its_mean_and_only_where_it_is_everywhere() -> None:
    leads = {("first", 0.9): (0.1, 0.2, 0.3), ("second", 0.9): (0.3, 0.0), ("second", 0.95): (0.2, 0.4, 0.9)}
    rows = [
        result(method, seed, accuracy, network=network, target_sparsity=sparsity)
        for (network, sparsity), found in leads.items()
        for seed, lead in enumerate(found)
        for method, accuracy in (("imp", 0.1 + lead), ("snip", 0.1))
    ]
    rows.append(result("imp", 0, 0.9, network="third"))  # which the other has no ticket of
    assert overall_differences(rows, "imp", "snip", "test_accuracy") == pytest.approx([0.2, 0.2])
    assert overall_differences(rows[:6], "imp", "snip", "test_accuracy") == []
    assert "| test accuracy: imp − snip | all | all | 2 | +20.0 | +20.0 to +20.0 |" in page(
        [RECORDED], rows, [("imp", "snip")]
    )
