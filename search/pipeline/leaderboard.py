"""The tables of a run, made from the study, the tickets and the models; they can be made again at any time."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from optuna.trial import FrozenTrial, TrialState

from dp_core.models import ModelSpec
from dp_core.pruning import Ticket
from search.pipeline.promotion import read_promotion
from search.pipeline.retraining_plan import recipe_in, recipe_key
from search.pipeline.tables import (
    LEADERBOARD,
    PARAMETER_PREFIX,
    ROUNDS,
    TRIALS,
    write_leaderboard,
    write_rounds,
    write_trials,
)
from search.runs.directory import RunDirectory
from search.study.trials import candidate_of, reason_of, rounds_of, state_of
from trainables.retraining.trained_model import TrainedModel
from trainables.trials.candidate import default_source

UNKNOWN = "unknown"
"""The recipe of a model whose card says none that this version of Winnow has."""

_OF_THE_LAST_ROUND = (
    "proxy_accuracy",
    "proxy_accuracy_sem",
    "replicates",
    "sparsity",
    "prunable_parameters",
    "parameters",
    "parameters_left",
    "flops_dense",
    "flops_remaining",
    "latency_ms",
    "steps",
    "image_gradients",
)


def write_tables(run: RunDirectory, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Write rounds, trials and leaderboard; return the leaderboard.

    Raises:
        UserError: a retrained model, or the ticket of an audited trial that was stopped early, is damaged; or the disk
            is full.
    """
    rounds = [{**row, "trial": trial.number} for trial in trials for row in _rounds(trial)]
    write_rounds(run.rounds, [{field.name: _value(row, field) for field in ROUNDS} for row in rounds])
    names = sorted({name for trial in trials for name in trial.params})
    write_trials(run.trials, [_trial_row(trial, names) for trial in trials])
    board = leaderboard(run, trials)
    write_leaderboard(run.leaderboard, board)
    return board


def leaderboard(run: RunDirectory, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return one row for each retrained ticket and recipe.

    Where a ticket was retrained by several recipes, that of the highest validation accuracy represents it: the test
    images influence no choice. These rows are ranked by their mean test accuracy, and the others follow without a rank.
    """
    results: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for folder in run.models():
        found = TrainedModel.load(folder).results
        recipe = recipe_in(found)
        results.setdefault((int(found["trial"]), UNKNOWN if recipe is None else recipe_key(recipe)), []).append(found)
    promotion = read_promotion(run.promotion)
    audited = frozenset[int]() if promotion is None else promotion.ever_audited
    by_number = {trial.number: trial for trial in trials}
    rows = [
        {**_leaderboard_row(run, by_number[number], found), "recipe": recipe, "audited": number in audited}
        for (number, recipe), found in results.items()
        if number in by_number
    ]
    # Of equal validation accuracy the longer training represents the ticket.
    rows.sort(key=lambda row: (row["trial"], -row["validation_accuracy"], -row["epochs"], row["recipe"]))
    best = {row["trial"]: row for row in reversed(rows)}
    ranked = sorted(best.values(), key=lambda row: (-row["test_accuracy"], row["trial"]))
    ranks = {id(row): rank for rank, row in enumerate(ranked, start=1)}
    board = [*ranked, *(row for row in rows if id(row) not in ranks)]
    return [{name: {**row, "rank": ranks.get(id(row))}[name] for name in LEADERBOARD.names} for row in board]


def _rounds(trial: FrozenTrial) -> list[dict[str, Any]]:
    unsaid = _unsaid(trial)
    return [{**unsaid, "rung_round": row["round"], **row} for row in rounds_of(trial)]


def _unsaid(trial: FrozenTrial) -> dict[str, Any]:
    """Return what rounds of earlier versions, without replicates, ladders, latencies or counts, do not say."""
    told = _description(trial)
    fidelity = told["source"] if told["ipc"] is None else f"{told['source']}-{told['ipc']}"
    return {
        "score_sem": None,
        "proxy_accuracy_sem": None,
        "replicates": 1,
        "rung": 0,
        "fidelity": fidelity,
        "rung_done": False,
        "latency_ms": None,
        "prunable_parameters": None,
        "parameters": None,
        "steps": None,
    }


def _value(row: Mapping[str, Any], field: pa.Field) -> Any:
    """Return what the row has for a column; the record keeps NaN and infinities as None."""
    value = row[field.name]
    return math.nan if value is None and field.type == pa.float64() and not field.nullable else value


def _trial_row(trial: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    rounds = _rounds(trial)
    last: Mapping[str, Any] = rounds[-1] if rounds else {}
    row = {
        **{name: last.get(name) for name in TRIALS.names},
        **_description(trial),
        "trial": trial.number,
        "state": state_of(trial),
        "reason": reason_of(trial),
        "broken_constraints": ", ".join(name for name, excess in trial.constraints.items() if excess > 0) or None,
        "rounds": len(rounds),
    }
    return {**row, **{PARAMETER_PREFIX + name: trial.params.get(name) for name in names}}


def _leaderboard_row(run: RunDirectory, trial: FrozenTrial, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = _last_round(run, trial)
    accuracies = [result["test_accuracy"] for result in results]
    gradients = [result.get("image_gradients") for result in results]
    return {
        **_description(trial),
        **{name: _value(last, LEADERBOARD.field(name)) for name in _OF_THE_LAST_ROUND},
        "trial": trial.number,
        "recipe_settings": json.dumps(results[0].get("recipe", {}), sort_keys=True),
        "epochs": _epochs(results[0]),
        "test_accuracy": statistics.fmean(accuracies),
        "test_accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "seeds": len(accuracies),
        "validation_accuracy": statistics.fmean(result["validation_accuracy"] for result in results),
        "screening_seconds": last["seconds"],
        "retraining_seconds": sum(result["seconds"] for result in results),
        "retraining_image_gradients": None if None in gradients else sum(gradients),
    }


def _epochs(results: Mapping[str, Any]) -> int:
    recipe = recipe_in(results)
    return len(results.get("history", [])) if recipe is None or recipe.epochs is None else round(recipe.epochs)


def _last_round(run: RunDirectory, trial: FrozenTrial) -> Mapping[str, Any]:
    """Return the round that the trial's ticket is of.

    A trial that was stopped early and then drawn for the audit was pruned to its end after all. The study heard of its
    end before: those rounds are in the card of its ticket.
    """
    rounds = _rounds(trial)
    if trial.state == TrialState.COMPLETE:
        return rounds[-1]
    latency = rounds[-1]["latency_ms"] if rounds else None
    last = Ticket.load(run.ticket(trial.number)).history[-1]
    return {**_unsaid(trial), **last, "latency_ms": latency}


def _description(trial: FrozenTrial) -> dict[str, Any]:
    candidate = candidate_of(trial)
    source = candidate.get("source", default_source(candidate))
    return {
        "architecture": ModelSpec.from_dict(candidate["model"]).label() if candidate else "",
        "source": source,
        "ipc": None if source == "real" else candidate.get("ipc"),
    }
