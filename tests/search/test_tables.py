from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from dp_core.errors import UserError
from search.tables import leaderboard_table, read_rows, write_leaderboard, write_rounds, write_trials

MEASURES: dict[str, Any] = {
    "score": 0.41,
    "score_sem": 0.011,
    "proxy_accuracy": 0.42,
    "proxy_accuracy_sem": 0.012,
    "proxy_loss": 1.5,
    "replicates": 4,
    "sparsity": 0.75,
    "density": 0.25,
    "parameters_left": 1234,
    "flops_dense": 10**12,
    "flops_remaining": 10**11,
    "image_gradients": 5000,
    "seconds": 2.5,
}
ROUND = {"trial": 3, "round": 2, **MEASURES}
TRIAL = {
    "trial": 3,
    "state": "COMPLETE",
    "reason": None,
    "rounds": 2,
    **MEASURES,
    "source": "distilled",
    "ipc": 10,
    "architecture": "convnet depth=3",
}
MODEL = {
    "rank": 1,
    "trial": 3,
    "test_accuracy": 0.61234,
    "test_accuracy_std": None,
    "seeds": 1,
    "validation_accuracy": 0.6,
    "proxy_accuracy": 0.42,
    "proxy_accuracy_sem": None,
    "replicates": 1,
    "sparsity": 0.951,
    "parameters_left": 1871232,
    "flops_remaining": 10**8,
    "architecture": "convnet depth=3 width=128 norm=instance activation=relu pooling=average",
    "source": "distilled",
    "ipc": None,
    "screening_seconds": 1234.5,
    "retraining_seconds": 12345.6,
}
Writer = Callable[[Path, Sequence[Mapping[str, object]]], None]


@pytest.mark.parametrize(("write", "row"), [(write_rounds, ROUND), (write_trials, TRIAL), (write_leaderboard, MODEL)])
class TestEveryTable:
    def test_reads_back_what_was_written(self, write: Writer, row: dict[str, Any], tmp_path: Path) -> None:
        write(tmp_path / "t.parquet", [row, row])
        assert read_rows(tmp_path / "t.parquet") == [row, row]

    def test_an_empty_table_keeps_its_columns(self, write: Writer, row: dict[str, Any], tmp_path: Path) -> None:
        write(tmp_path / "t.parquet", [])
        assert pq.read_table(tmp_path / "t.parquet").column_names == list(row)

    def test_a_missing_column_is_refused_and_the_old_table_stays(
        self, write: Writer, row: dict[str, Any], tmp_path: Path
    ) -> None:
        write(tmp_path / "t.parquet", [row])
        lacking = {name: value for name, value in row.items() if name != "sparsity"}
        with pytest.raises(ValueError, match="row 1: missing columns sparsity"):
            write(tmp_path / "t.parquet", [row, lacking])
        assert read_rows(tmp_path / "t.parquet") == [row]
        assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]

    def test_an_unknown_column_is_refused(self, write: Writer, row: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="unknown columns sparsty"):
            write(tmp_path / "t.parquet", [{**row, "sparsty": 0.5}])
        assert not list(tmp_path.iterdir())

    def test_a_null_is_refused_where_there_must_be_a_value(
        self, write: Writer, row: dict[str, Any], tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="null in trial"):
            write(tmp_path / "t.parquet", [{**row, "trial": None}])

    def test_a_wrong_type_is_refused(self, write: Writer, row: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="column parameters_left"):
            write(tmp_path / "t.parquet", [{**row, "parameters_left": "many"}])


def test_column_types_are_those_promised(tmp_path: Path) -> None:
    write_rounds(tmp_path / "rounds.parquet", [ROUND])
    schema = pq.read_schema(tmp_path / "rounds.parquet")
    whole = {
        "trial", "round", "replicates", "parameters_left", "flops_dense", "flops_remaining", "image_gradients",
    }  # fmt: skip
    assert {field.name for field in schema if field.type == pa.int64()} == whole
    assert {field.name for field in schema if field.type == pa.float64()} == set(schema.names) - whole


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([1, 2], pa.int64(), [1, 2]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([True, False], pa.bool_(), [True, False]),
        (["batch", None], pa.string(), ["batch", None]),
        ([1, "none"], pa.string(), ["1", "none"]),
        ([True, 2], pa.string(), ["True", "2"]),
        ([None, None], pa.string(), [None, None]),
    ],
)
def test_parameter_types_are_inferred(values: list[Any], kind: pa.DataType, stored: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "trials.parquet"
    write_trials(path, [{**TRIAL, "params.model.norm": value} for value in values])
    assert pq.read_schema(path).field("params.model.norm").type == kind
    assert [row["params.model.norm"] for row in read_rows(path)] == stored


def test_a_conditional_parameter_is_null_where_it_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "trials.parquet"
    write_trials(path, [{**TRIAL, "params.ipc": 10}, {**TRIAL, "params.width": 64}])
    assert [(row["params.ipc"], row["params.width"]) for row in read_rows(path)] == [(10, None), (None, 64)]


def test_one_replicate_has_no_standard_error(tmp_path: Path) -> None:
    row = {**ROUND, "replicates": 1, "score_sem": None, "proxy_accuracy_sem": None}
    write_rounds(tmp_path / "rounds.parquet", [row, ROUND])
    assert read_rows(tmp_path / "rounds.parquet") == [row, ROUND]


def test_a_trial_without_a_round_has_no_measures(tmp_path: Path) -> None:
    waiting = {**TRIAL, **dict.fromkeys(MEASURES), "state": "WAITING", "rounds": 0}
    write_trials(tmp_path / "trials.parquet", [waiting])
    assert read_rows(tmp_path / "trials.parquet") == [waiting]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(accuracies=st.lists(st.floats(allow_nan=False)), flops=st.integers(0, 2**63 - 1))
def test_numbers_survive_exactly(accuracies: list[float], flops: int, tmp_path: Path) -> None:
    rows = [{**ROUND, "round": n, "proxy_accuracy": a, "flops_dense": flops} for n, a in enumerate(accuracies)]
    write_rounds(tmp_path / "rounds.parquet", rows)
    assert read_rows(tmp_path / "rounds.parquet") == rows


def test_a_missing_table_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rounds\.parquet: there is no such table"):
        read_rows(tmp_path / "rounds.parquet")


@pytest.mark.parametrize("kept", [0, 3, 200, -5])
def test_a_truncated_table_is_the_users_mistake(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "rounds.parquet"
    write_rounds(path, [ROUND])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"rounds\.parquet: this is not a readable Parquet table") as error:
        read_rows(path)
    assert "\n" not in str(error.value)


def test_a_directory_is_not_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_rows(tmp_path)


def printed(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(leaderboard_table(rows))
    return capture.get()


@pytest.mark.parametrize("width", [90, 100, 140])
def test_the_terminal_leaderboard_shows_every_figure(width: int) -> None:
    second = {**MODEL, "rank": 2, "test_accuracy": 0.59, "test_accuracy_std": 0.0123, "seeds": 3, "ipc": 50}
    text = printed([MODEL, second], width)
    assert max(len(line) for line in text.splitlines()) <= width
    for figure in ("61.23", "59.00 ± 1.23", "42.0", "95.1", "1,871,232", " 50 ", "1,234.5", "12,345.6"):
        assert figure in text


def test_one_seed_shows_no_deviation() -> None:
    assert "±" not in printed([{**MODEL, "test_accuracy_std": 0.0, "seeds": 1}], 100)


@pytest.mark.parametrize("width", [90, 140])
def test_a_mean_over_replicates_shows_its_standard_error(width: int) -> None:
    replicated = {**MODEL, "proxy_accuracy": 0.31, "proxy_accuracy_sem": 0.0082, "replicates": 4}
    text = printed([{**replicated, "test_accuracy_std": 0.0123, "seeds": 3}], width)
    assert max(len(line) for line in text.splitlines()) <= width
    for figure in ("61.23 ± 1.23", "31.0 ± 0.8", "95.1", "1,871,232", "1,234.5", "12,345.6"):
        assert figure in text


def test_brackets_in_a_name_are_not_markup() -> None:
    assert "[bold]net[/bold]" in printed([{**MODEL, "architecture": "[bold]net[/bold]"}], 140)


def test_an_accuracy_that_is_not_a_number_is_a_dash() -> None:
    assert "nan" not in printed([{**MODEL, "test_accuracy": math.nan}], 100)
