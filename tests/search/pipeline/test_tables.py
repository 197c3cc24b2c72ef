from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.output.tables import read_rows
from search.pipeline.tables import damaged_tables, write_leaderboard, write_rounds, write_trials
from search.runs.directory import RunDirectory

MEASURES: dict[str, Any] = {
    "score": 0.41,
    "score_sem": 0.011,
    "proxy_accuracy": 0.42,
    "proxy_accuracy_sem": 0.012,
    "proxy_loss": 1.5,
    "replicates": 4,
    "sparsity": 0.75,
    "density": 0.25,
    "prunable_parameters": 4000,
    "parameters": 4234,
    "parameters_left": 1234,
    "flops_dense": 10**12,
    "flops_remaining": 10**11,
    "latency_ms": 1.25,
    "steps": 50,
    "image_gradients": 5000,
    "seconds": 2.5,
}
RUNG = {"rung": 1, "rung_round": 1, "fidelity": "distilled-10", "rung_done": True}
ROUND = {"trial": 3, "round": 2, **RUNG, **MEASURES}
TRIAL = {
    "trial": 3,
    "state": "COMPLETE",
    "reason": None,
    "broken_constraints": None,
    "rounds": 2,
    **RUNG,
    **MEASURES,
    "source": "distilled",
    "ipc": 10,
    "architecture": "convnet depth=3",
}
MODEL = {
    "rank": 1,
    "trial": 3,
    "audited": False,
    "method": "ticket",
    "recipe": "5epochs-abc123",
    "recipe_settings": "{}",
    "epochs": 5,
    "test_accuracy": 0.61234,
    "test_accuracy_std": None,
    "seeds": 1,
    "validation_accuracy": 0.6,
    "proxy_accuracy": 0.42,
    "proxy_accuracy_sem": None,
    "replicates": 1,
    "sparsity": 0.951,
    "prunable_parameters": 10**7,
    "parameters": 2 * 10**7,
    "parameters_left": 1871232,
    "flops_dense": 10**9,
    "flops_remaining": 10**8,
    "latency_ms": None,
    "architecture": "convnet depth=3 width=128 norm=instance activation=relu pooling=average",
    "source": "distilled",
    "ipc": None,
    "steps": None,
    "screening_seconds": 1234.5,
    "image_gradients": 5000,
    "retraining_seconds": 12345.6,
    "retraining_image_gradients": None,
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

    def test_an_unknown_column_is_refused(self, write: Writer, row: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="unknown columns sparsty"):
            write(tmp_path / "t.parquet", [{**row, "sparsty": 0.5}])

    def test_a_null_is_refused_where_there_must_be_a_value(
        self, write: Writer, row: dict[str, Any], tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="nothing in trial"):
            write(tmp_path / "t.parquet", [{**row, "trial": None}])


# Name and type, with a ? where it may be null: what readers of run directories rely on.
OF_A_ROUND = (
    "rung int64", "rung_round int64", "fidelity string", "rung_done bool", "score double", "score_sem double?",
    "proxy_accuracy double", "proxy_accuracy_sem double?", "proxy_loss double", "replicates int64", "sparsity double",
    "density double", "prunable_parameters int64?", "parameters int64?", "parameters_left int64", "flops_dense int64",
    "flops_remaining int64", "latency_ms double?", "steps int64?", "image_gradients int64", "seconds double",
)  # fmt: skip
COLUMNS = {
    "rounds": ("trial int64", "round int64", *OF_A_ROUND),
    "trials": (
        "trial int64", "state string", "reason string?", "broken_constraints string?", "rounds int64",
        *(f"{column.rstrip('?')}?" for column in OF_A_ROUND),
        "source string", "ipc int64?", "architecture string",
    ),
    "leaderboard": (
        "rank int64?", "trial int64", "audited bool", "method string?", "recipe string", "recipe_settings string",
        "epochs int64", "test_accuracy double", "test_accuracy_std double?", "seeds int64",
        "validation_accuracy double", "proxy_accuracy double", "proxy_accuracy_sem double?", "replicates int64",
        "sparsity double", "prunable_parameters int64?", "parameters int64?", "parameters_left int64",
        "flops_dense int64",
        "flops_remaining int64", "latency_ms double?", "architecture string", "source string", "ipc int64?",
        "steps int64?", "screening_seconds double", "image_gradients int64", "retraining_seconds double",
        "retraining_image_gradients int64?",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "write", "row"),
    [("rounds", write_rounds, ROUND), ("trials", write_trials, TRIAL), ("leaderboard", write_leaderboard, MODEL)],
)
def test_columns_are_those_promised(name: str, write: Writer, row: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", [row])
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert tuple(f"{field.name} {field.type}{'?' * field.nullable}" for field in schema) == COLUMNS[name]


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
    waiting = {**TRIAL, **dict.fromkeys([*RUNG, *MEASURES]), "state": "WAITING", "rounds": 0}
    write_trials(tmp_path / "trials.parquet", [waiting])
    assert read_rows(tmp_path / "trials.parquet") == [waiting]


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert damaged_tables(run) == []
    write_rounds(run.rounds, [ROUND])
    write_trials(run.trials, [TRIAL])
    write_leaderboard(run.leaderboard, [MODEL])
    assert damaged_tables(run) == []
    content = bytearray(run.trials.read_bytes())
    content[100] ^= 1
    run.trials.write_bytes(content)
    run.leaderboard.write_bytes(b"")
    first, second = damaged_tables(run)
    assert first.startswith(f"{run.trials}: this is not a readable Parquet table")
    assert second.startswith(f"{run.leaderboard}: this is not a readable Parquet table")


def test_ten_thousand_trials_are_written_and_read_in_seconds(tmp_path: Path) -> None:
    rounds = [{**ROUND, "trial": n // 5, "round": n % 5 + 1} for n in range(50_000)]
    trials = [{**TRIAL, "trial": n, **{f"params.p{k}": 0.5 * k for k in range(10)}} for n in range(10_000)]
    began = time.process_time()
    write_rounds(tmp_path / "rounds.parquet", rounds)
    write_trials(tmp_path / "trials.parquet", trials)
    assert len(read_rows(tmp_path / "rounds.parquet")) == 50_000
    assert time.process_time() - began < 15
