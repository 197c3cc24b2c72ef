"""The tables of a run, made from the study, the tickets and the models; they can be made again at any time."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dp_core.models import ModelSpec
from dp_core.pruning import Ticket
from search.pipeline.promotion_file import read_promotion
from search.pipeline.tables import (
    LEADERBOARD,
    PARAMETER_PREFIX,
    TRIALS,
    write_leaderboard,
    write_rounds,
    write_trials,
)
from search.runs.directory import RunDirectory
from search.study.trials import reason_of, round_of, rounds_of, state_of, written_candidate
from trainables.retraining.method import TICKET, RetrainingMethod
from trainables.retraining.trained_model import TrainedModel
from trainables.screening.round import Round, finite
from trainables.trials.source import screened_on

UNKNOWN = "unknown"
"""The recipe of a model whose card says none that this version of Winnow has."""


def write_tables(run: RunDirectory, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Write rounds, trials and leaderboard; return the leaderboard.

    Raises:
        UserError: a retrained model, or the ticket of an audited trial that was stopped early, is damaged; or the disk
            is full.
    """
    write_rounds(
        run.rounds, [{"trial": trial.number, **each.to_row()} for trial in trials for each in rounds_of(trial)]
    )
    names = sorted({name for trial in trials for name in trial.params})
    write_trials(run.trials, [_trial_row(trial, names) for trial in trials])
    board = leaderboard(run, trials)
    write_leaderboard(run.leaderboard, board)
    return board


def leaderboard(run: RunDirectory, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return one row for each retrained ticket, method and recipe.

    A method is part of a model: what `ticket` and `gradual` made of a candidate are two. Where one was trained by
    several recipes, that of the highest validation accuracy represents it: the test images influence no choice. These
    rows are ranked by their mean test accuracy, and the others follow without a rank.
    """
    results: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for folder in run.models():
        found = TrainedModel.load(folder).results
        method = RetrainingMethod.of_card(found)
        results.setdefault((int(found["trial"]), UNKNOWN if method is None else method.key), []).append(found)
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
    best = {(row["trial"], row["method"]): row for row in reversed(rows)}
    ranked = sorted(best.values(), key=lambda row: (-row["test_accuracy"], row["trial"], row["method"]))
    ranks = {id(row): rank for rank, row in enumerate(ranked, start=1)}
    board = [*ranked, *(row for row in rows if id(row) not in ranks)]
    return [{name: {**row, "rank": ranks.get(id(row))}[name] for name in LEADERBOARD.names} for row in board]


def _trial_row(trial: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    rounds = rounds_of(trial)
    last = finite(rounds[-1].to_row()) if rounds else {}
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
    measures = {name: value for name, value in last.to_row().items() if name in LEADERBOARD.names}
    if results[0].get("method", TICKET) != TICKET:  # its mask is another than that of the last round
        measures |= {name: results[0][name] for name in ("sparsity", "parameters_left", "flops_remaining")}
    accuracies = [result["test_accuracy"] for result in results]
    gradients = [result.get("image_gradients") for result in results]
    return {
        **_description(trial),
        **measures,
        "trial": trial.number,
        "method": results[0].get("method", TICKET),
        "recipe_settings": json.dumps(results[0].get("recipe", {}), sort_keys=True),
        "epochs": _epochs(results[0]),
        "test_accuracy": statistics.fmean(accuracies),
        "test_accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "seeds": len(accuracies),
        "validation_accuracy": statistics.fmean(result["validation_accuracy"] for result in results),
        "screening_seconds": last.seconds,
        "retraining_seconds": sum(result["seconds"] for result in results),
        "retraining_image_gradients": None if None in gradients else sum(gradients),
    }


def _epochs(results: Mapping[str, Any]) -> int:
    method = RetrainingMethod.of_card(results)
    epochs = None if method is None else method.recipe.epochs
    return len(results.get("history", [])) if epochs is None else round(epochs)


def _last_round(run: RunDirectory, trial: FrozenTrial) -> Round:
    """Return the round that the trial's ticket is of.

    A trial that was stopped early and then drawn for the audit was pruned to its end after all. The study heard of its
    end before: those rounds are in the card of its ticket.
    """
    rounds = rounds_of(trial)
    if trial.state == TrialState.COMPLETE:
        return rounds[-1]
    last = round_of(trial, Ticket.load(run.ticket(trial.number)).history[-1])
    return replace(last, latency_ms=rounds[-1].latency_ms if rounds else None)


def _description(trial: FrozenTrial) -> dict[str, Any]:
    candidate = written_candidate(trial)
    source, ipc = screened_on(candidate)
    architecture = ModelSpec.from_dict(candidate["model"]).label() if candidate else ""
    return {"architecture": architecture, "source": source, "ipc": ipc}
