"""The Parquet tables of a run directory: their columns, and what is written into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from dp_core.errors import UserError
from search.output.sealed_parquet import read_sealed
from search.output.tables import write_table
from search.runs.directory import RunDirectory

PARAMETER_PREFIX = "params."


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


_RUNG = [
    _field("rung", pa.int64()),
    _field("rung_round", pa.int64()),
    _field("fidelity", pa.string()),
    _field("rung_done", pa.bool_()),
]
_MEASURES = [
    _field("score", pa.float64()),
    _field("score_sem", pa.float64(), nullable=True),
    _field("proxy_accuracy", pa.float64()),
    _field("proxy_accuracy_sem", pa.float64(), nullable=True),
    _field("proxy_loss", pa.float64()),
    _field("replicates", pa.int64()),
    _field("sparsity", pa.float64()),
    _field("density", pa.float64()),
    _field("prunable_parameters", pa.int64(), nullable=True),
    _field("parameters", pa.int64(), nullable=True),
    _field("parameters_left", pa.int64()),
    _field("flops_dense", pa.int64()),
    _field("flops_remaining", pa.int64()),
    _field("latency_ms", pa.float64(), nullable=True),
    _field("steps", pa.int64(), nullable=True),
    _field("image_gradients", pa.int64()),
    _field("seconds", pa.float64()),
]
ROUNDS = pa.schema([_field("trial", pa.int64()), _field("round", pa.int64()), *_RUNG, *_MEASURES])
TRIALS = pa.schema(
    [
        _field("trial", pa.int64()),
        _field("state", pa.string()),
        _field("reason", pa.string(), nullable=True),
        _field("broken_constraints", pa.string(), nullable=True),
        _field("rounds", pa.int64()),
        *(field.with_nullable(True) for field in [*_RUNG, *_MEASURES]),
        _field("source", pa.string()),
        _field("ipc", pa.int64(), nullable=True),
        _field("architecture", pa.string()),
    ]
)
LEADERBOARD = pa.schema(
    [
        _field("rank", pa.int64(), nullable=True),
        _field("trial", pa.int64()),
        _field("audited", pa.bool_()),
        _field("recipe", pa.string()),
        _field("recipe_settings", pa.string()),
        _field("epochs", pa.int64()),
        _field("test_accuracy", pa.float64()),
        _field("test_accuracy_std", pa.float64(), nullable=True),
        _field("seeds", pa.int64()),
        _field("validation_accuracy", pa.float64()),
        _field("proxy_accuracy", pa.float64()),
        _field("proxy_accuracy_sem", pa.float64(), nullable=True),
        _field("replicates", pa.int64()),
        _field("sparsity", pa.float64()),
        _field("prunable_parameters", pa.int64(), nullable=True),
        _field("parameters", pa.int64(), nullable=True),
        _field("parameters_left", pa.int64()),
        _field("flops_dense", pa.int64()),
        _field("flops_remaining", pa.int64()),
        _field("latency_ms", pa.float64(), nullable=True),
        _field("architecture", pa.string()),
        _field("source", pa.string()),
        _field("ipc", pa.int64(), nullable=True),
        _field("steps", pa.int64(), nullable=True),
        _field("screening_seconds", pa.float64()),
        _field("image_gradients", pa.int64()),
        _field("retraining_seconds", pa.float64()),
        _field("retraining_image_gradients", pa.int64(), nullable=True),
    ]
)


def write_rounds(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `rounds.parquet`: one row per trial and round.

    `rung` counts from 0 and is 0 where there is no ladder, `rung_round` from 1 within the rung; `fidelity` is what the
    rung looks with, such as `distilled-10`. Accuracies, sparsity and density are fractions in [0, 1]; sparsity is that
    of the `prunable_parameters` among all `parameters`, null in runs that did not count them; `latency_ms` is in
    milliseconds, null where nobody asked for it; `steps` are those of the optimiser in this round, null in runs that
    did not tell them; `image_gradients` and `seconds` are cumulative over the trial's
    rounds and count all of its replicates. Score, proxy accuracy and loss are means over the replicates; `score_sem`
    and `proxy_accuracy_sem` are the standard errors of two of these means, null for a single replicate.

    Raises:
        ValueError: an unknown or mistyped column, or nothing in one that must have a value.
        UserError: the disk is full.
    """
    write_table(path, rows, ROUNDS)


def write_trials(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `trials.parquet`: one row per trial, with its last round's measures (null before the first round).

    `state` is COMPLETE, PRUNED, FAIL, RUNNING, WAITING or, for a proposal that was never trained, REJECTED (it broke a
    constraint) or REPEATED (`reason` names the trial that has its candidate). `broken_constraints` names the
    constraints that a trial breaks, separated by commas. Every further key must be `params.<dotted name>`; rows need
    not share these, since a conditional parameter exists in some trials only. Raises as `write_rounds`.
    """
    names = sorted({name for row in rows for name in row if name.startswith(PARAMETER_PREFIX)})
    kinds = {name: _inferred([row.get(name) for row in rows]) for name in names}
    texts = [name for name, kind in kinds.items() if kind == pa.string()]
    stored = [{**row, **{name: _text(row.get(name)) for name in texts}} for row in rows]
    write_table(path, stored, pa.schema([*TRIALS, *(pa.field(name, kind) for name, kind in kinds.items())]))


def write_leaderboard(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `leaderboard.parquet`: one row per retrained ticket and recipe; `seeds` is how often it was retrained.

    `rank` is null where another recipe represents the ticket, by its validation accuracy; `recipe` is the end of its
    models' names, `recipe_settings` that recipe as JSON, and `epochs` how long they were trained. `audited` says that
    the ticket was drawn at random rather than promoted. `screening_seconds` and `image_gradients` are those of
    screening it, `retraining_seconds` and `retraining_image_gradients` (null where unknown) of all its retrainings by
    this recipe. Raises as `write_rounds`.
    """
    write_table(path, rows, LEADERBOARD)


def damaged_tables(run: RunDirectory) -> list[str]:
    """Return a sentence about each table of the run that is there and cannot be read."""
    sentences = []
    for path in (run.rounds, run.trials, run.leaderboard):
        if path.exists():
            try:
                read_sealed(path)
            except UserError as error:
                sentences.append(str(error))
    return sentences


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _inferred(values: Sequence[object]) -> pa.DataType:
    """Return the narrowest column type that holds the values; anything mixed but int with float is text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    return pa.string()
