"""What benchmarks/set_worth.py counts, and that a measurement is the tickets' it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import set_worth
from benchmarks.set_worth import Arm, Worth, at_best_rates, check_name, kept_rows, means, page
from dp_core.data import Splits
from dp_core.distillation import RandomImages
from dp_core.errors import UserError
from dp_core.quality.ticket_bench import TicketBench
from dp_core.training import Recipe, TrainingData
from tests.dp_core.small import random_dataset, small_spec


def mask(name: str, network: str, rate: float, sparsity: float, value: float) -> dict[str, Any]:
    return {"set": name, "measure": "mask", "network": network, "rate": rate, "sparsity": sparsity, "value": value}


ROWS = [
    mask("one", "instance net", 0.003, 0.90, 0.5),
    mask("one", "instance net", 0.003, 0.95, 0.2),
    mask("one", "instance net", 0.010, 0.90, 0.4),
    mask("one", "instance net", 0.010, 0.95, 0.4),
    mask("one", "batch net", 0.003, 0.90, 0.6),
    mask("one", "batch net", 0.003, 0.95, 0.4),
    {"set": "one", "measure": "rank", "steps": 30, "value": 0.7},
    {"set": "one", "measure": "fresh", "network": "instance net", "steps": 30, "value": 0.25},
]


def test_a_set_counts_at_the_rate_that_is_best_for_it_on_each_network() -> None:
    kept = [(row["network"], row["rate"]) for row in at_best_rates(ROWS) if row["measure"] == "mask"]
    assert kept == [("instance net", 0.010)] * 2 + [("batch net", 0.003)] * 2
    found = means(ROWS)["one"]
    assert found["mask"] == pytest.approx((0.4 + 0.4 + 0.6 + 0.4) / 4)
    assert "mask" not in means([row for row in ROWS if row.get("network") != "batch net"])["one"]
    assert (found["instance 95%"], found["batch 90%"], found["rank"], found["fresh, 30 steps"]) == (0.4, 0.6, 0.7, 0.25)


def test_another_set_of_the_same_name_is_refused() -> None:
    made = RandomImages().distill(random_dataset(), 1, 0)
    rows = [{**ROWS[0], "digest": made.digest}]
    check_name(Arm("one", made), rows)
    check_name(Arm("two", None), rows)
    with pytest.raises(UserError, match=r"^Another set was measured as 'one'"):
        check_name(Arm("one", RandomImages().distill(random_dataset(), 1, 1)), rows)


def test_damaged_measurements_are_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert kept_rows(path) == []
    path.write_text('[{"set": ')
    with pytest.raises(UserError, match=r"kept\.json cannot be read: "):
        kept_rows(path)


def test_of_real_images_the_page_has_thirty_steps_in_the_table_and_a_hundred_below() -> None:
    ranks = [
        {"set": "real", "measure": "rank", "steps": steps, "value": value} for steps, value in ((30, 0.5), (100, 0.8))
    ]
    assert means(ranks)["real"] == {"rank": 0.5, "rank, 100 steps": 0.8}
    assert "| 0.50 |" in page(ranks)
    assert "100 steps on real images rank with 0.80." in page(ranks)


def test_the_page_has_the_best_masks_first_and_says_how_they_go_with_fresh_networks() -> None:
    rows = [
        {**row, "set": f"set {number}", "value": row["value"] * (1 + number / 10)}
        for number in range(6)
        for row in ROWS
    ]
    lines = [line for line in page(rows).splitlines() if line.startswith("| set")]
    assert [line.split("|")[1].strip() for line in lines] == [f"set {number}" for number in reversed(range(6))]
    assert "Masks and fresh, 30 steps have a rank correlation of 1.00" in page(rows)


def test_a_mask_is_found_on_the_arms_images_and_its_ticket_trained_on_real_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, validation = random_dataset(per_class=12), random_dataset(per_class=6, seed=1)
    spec = small_spec()
    training = Recipe(optimizer="adamw", learning_rate=0.01, steps=20, batch_size=12, mode="eager")
    for name, value in (("NETWORKS", (spec,)), ("TRAINING", training), ("RATES", (0.01,)), ("TRIED", (0, 8))):
        monkeypatch.setattr(set_worth, name, value)
    chosen = RandomImages().distill(train, 2, 0)
    worth, arm = Worth(Splits(train, validation, validation)), Arm("two", chosen)
    (wanted,) = worth.wanted(arm, [3], ["mask"])
    rows = worth.measured(arm, wanted)
    bench = TicketBench(train, validation, spec, training)
    masks, _ = bench.find(TrainingData(*chosen.training_data()), set_worth.round_recipe(0.01), set_worth.SPARSITIES, 3)
    assert masks is not None
    assert [row["value"] for row in rows] == [bench.retrained(masks[place], 3) for place in (0, 8)]
    assert [row["sparsity"] for row in rows] == pytest.approx([0.28, 1 - 0.72**9])
    assert {(row["set"], row["digest"], row["seed"]) for row in rows} == {("two", chosen.digest, 3)}
