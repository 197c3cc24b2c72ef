from __future__ import annotations

from pathlib import Path
from typing import Any

from search.output.tables import read_rows, write_table
from search.proxies import tables as schemas
from tests.search.proxies.answer_rows import evaluation, truth


def test_what_is_made_of_an_evaluation_reads_back(tmp_path: Path) -> None:
    made = evaluation(40)
    found = made.answers
    tables = {"ANSWERS": found.overall, "SUBSETS": found.subsets, "REGRETS": found.regrets, "BUDGETS": found.budgets}
    for name, rows in (tables | {"TRUTHS": made.truths}).items():
        schema = getattr(schemas, name)
        write_table(tmp_path / "t.parquet", rows, schema)
        assert read_rows(tmp_path / "t.parquet", schema) == rows
        assert set(schema.names) == set(rows[0])


def test_a_failure_is_a_row_without_a_value(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "architecture": "a",
        "proxy": "zen",
        "replicate": 0,
        "status": "failed",
        "reason": "No norm.",
    }
    write_table(tmp_path / "s.parquet", [row], schemas.SCORES)
    assert read_rows(tmp_path / "s.parquet") == [dict.fromkeys(schemas.SCORES.names) | row]


def test_costs_of_thousands_of_trainings_fit(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", [truth(flops=3e18, image_gradients=2**40)], schemas.TRUTHS)
    assert read_rows(tmp_path / "t.parquet")[0]["image_gradients"] == 2**40
