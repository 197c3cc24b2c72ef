from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dp_core.errors import UserError
from search.proxies import parquet
from search.proxies.parquet import read_scores, read_truths, write_answers, write_scores, write_truths
from tests.search.proxies.answer_rows import Evaluation, evaluation, truth

KINDS = ("scores", "truths", "answers", "subsets", "regrets", "budgets")


@pytest.fixture(scope="module")
def made() -> Evaluation:
    return evaluation(40)


def test_what_is_made_of_an_evaluation_reads_back(made: Evaluation, tmp_path: Path) -> None:
    found = made.answers
    tables = {"answers": found.overall, "subsets": found.subsets, "regrets": found.regrets, "budgets": found.budgets}
    for name, rows in (tables | {"truths": made.truths}).items():
        getattr(parquet, f"write_{name}")(rows, tmp_path / f"{name}.parquet")
        assert getattr(parquet, f"read_{name}")(tmp_path / f"{name}.parquet") == rows
        assert set(getattr(parquet, name.upper()).names) == set(rows[0])


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_table_has_its_columns(kind: str, tmp_path: Path) -> None:
    getattr(parquet, f"write_{kind}")([], tmp_path / "t.parquet")
    assert pq.read_schema(tmp_path / "t.parquet").equals(getattr(parquet, kind.upper()))
    assert getattr(parquet, f"read_{kind}")(tmp_path / "t.parquet") == []


def test_a_failure_is_a_row_without_a_value(tmp_path: Path) -> None:
    row = {"architecture": "a", "proxy": "zen", "replicate": 0, "status": "failed", "reason": "It has no norm."}
    write_scores([row], tmp_path / "s.parquet")
    [back] = read_scores(tmp_path / "s.parquet")
    assert back == dict.fromkeys(parquet.SCORES.names) | row


def test_costs_of_thousands_of_trainings_fit(tmp_path: Path) -> None:
    write_truths([truth(flops=3e18, image_gradients=2**40)], tmp_path / "t.parquet")
    assert read_truths(tmp_path / "t.parquet")[0]["image_gradients"] == 2**40


@pytest.mark.parametrize(
    ("row", "told"), [({"proxi": "nwot"}, "unknown columns proxi"), ({"failed": "two"}, "column failed")]
)
def test_a_row_that_does_not_fit_is_a_defect(row: dict, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        write_answers([row], tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_another_table_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"architecture": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="no such table of winnow proxy-eval: it has no column 'parameters'"):
        read_truths(tmp_path / "t.parquet")
    with pytest.raises(UserError, match="there is no such table"):
        read_truths(tmp_path / "none.parquet")
