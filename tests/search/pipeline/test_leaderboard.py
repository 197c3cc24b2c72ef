from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

from dp_core.data.preprocessing import Standardisation
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.pruning import Mask, Ticket
from dp_core.training import Recipe
from search.output.tables import read_rows
from search.pipeline.leaderboard import write_tables
from search.pipeline.promotion_file import Promotion, write_promotion
from search.runs.directory import RunDirectory, model_name
from search.study.storage.store import read_trials
from search.study.trials import ROUND, STUDY
from tests.search.tiny import a_round, config_of, study_of
from trainables.retraining.method import RetrainingMethod
from trainables.retraining.trained_model import TrainedModel
from trainables.screening.round import Round

SPEC = ModelSpec("convnet", {"depth": 1, "width": 4})
End = tuple[list[float], TrialState, str | None]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def write_comparison(run: RunDirectory, *ends: End, still_running: int = 0) -> list[dict[str, Any]]:
    """Write a study of trials with these scores of rounds, states and reasons; return their candidates."""
    run.path.mkdir()
    config = config_of(run.path, search={"trials": len(ends) + still_running})
    record = study_of(run.path, config)
    candidates = []
    for scores, state, reason in [*ends, *([([], None, None)] * still_running)]:
        proposal = record.propose()
        assert proposal is not None
        candidates.append(dict(proposal.candidate.written))
        for number, score in enumerate(scores, start=1):
            loss = math.nan if state == TrialState.FAIL else 1.0
            record.report(proposal.number, a_round(number, score, proxy_loss=loss))
        if state is not None:
            record.finish(proposal.number, state, reason)
    return candidates


RECIPE = Recipe(epochs=2.0)


def write_model(
    run: RunDirectory, trial: int, seed: int, test_accuracy: float, recipe: Recipe = RECIPE, **results: Any
) -> Path:
    folder = run.model(model_name(trial, seed, RetrainingMethod(recipe).key))
    folder.mkdir(parents=True)
    results = {"recipe": recipe.to_dict(), **results}
    weights = build(SPEC, (3, 8, 8), 3, seed=0).state_dict()
    told = {"trial": trial, "seed": seed, "test_accuracy": test_accuracy, "validation_accuracy": 0.5, "seconds": 2.0}
    space = Standardisation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    TrainedModel(SPEC, (3, 8, 8), ("a", "b", "c"), space, weights, {**told, **results}).write_into(folder)
    return folder


def complete(*scores: float) -> End:
    return list(scores), TrialState.COMPLETE, None


def test_rounds_and_trials_are_the_studys(run: RunDirectory) -> None:
    candidates = write_comparison(
        run,
        complete(0.7, 0.6),
        ([0.4], TrialState.PRUNED, "others were better"),
        ([0.3], TrialState.FAIL, "the loss became nan"),
        ([], TrialState.FAIL, "its worker was lost"),
        still_running=1,
    )
    write_tables(run, read_trials(run.journal, None, STUDY))
    rounds = pq.read_table(run.rounds).to_pylist()
    assert [(row["trial"], row["round"], row["score"]) for row in rounds] == [
        (0, 1, 0.7),
        (0, 2, 0.6),
        (1, 1, 0.4),
        (2, 1, 0.3),
    ]
    assert rounds[1]["image_gradients"] == 128
    assert math.isnan(rounds[3]["proxy_loss"])
    trials = pq.read_table(run.trials).to_pylist()
    assert [(row["trial"], row["state"], row["reason"], row["rounds"], row["score"]) for row in trials] == [
        (0, "COMPLETE", None, 2, 0.6),
        (1, "PRUNED", "others were better", 1, 0.4),
        (2, "FAIL", "the loss became nan", 1, 0.3),
        (3, "FAIL", "its worker was lost", 0, None),
        (4, "RUNNING", None, 0, None),
    ]
    for row, candidate in zip(trials, candidates, strict=True):
        assert row["source"] == candidate["source"]
        assert row["ipc"] == (2 if candidate["source"] == "distilled" else None)
        assert row["architecture"].startswith("convnet depth=1 width=4 none")
        assert row["params.sparsity"] == candidate["sparsity"]
        assert row["params.ipc"] == candidate.get("ipc")


def test_seeds_are_averaged_and_the_best_mean_is_first(run: RunDirectory) -> None:
    write_comparison(run, complete(0.7, 0.6), complete(0.5), complete(0.9))
    for seed, accuracy in enumerate((0.5, 0.6, 0.7)):
        write_model(run, 0, seed, accuracy, validation_accuracy=accuracy + 0.05, seconds=1.5)
    write_model(run, 2, 0, 0.65)
    board = write_tables(run, read_trials(run.journal, None, STUDY))
    assert pq.read_table(run.leaderboard).to_pylist() == board
    assert [(row["rank"], row["trial"], row["seeds"]) for row in board] == [(1, 2, 1), (2, 0, 3)]
    one, several = board
    assert (one["test_accuracy"], one["test_accuracy_std"]) == (0.65, None)
    assert several["test_accuracy"] == pytest.approx(0.6)
    assert several["test_accuracy_std"] == pytest.approx(0.1)  # of a sample: √((0.01 + 0 + 0.01) / 2)
    assert several["validation_accuracy"] == pytest.approx(0.65)
    assert several["retraining_seconds"] == pytest.approx(4.5)
    assert (several["screening_seconds"], several["proxy_accuracy"]) == (0.5, 0.6)  # of the last round


@pytest.mark.parametrize("told", [{"replicates": 4, "proxy_accuracy_sem": 0.02, "score_sem": 0.01}, {}])
def test_replicates_are_in_every_table_and_a_run_from_before_them_had_one(
    run: RunDirectory, told: dict[str, Any]
) -> None:
    run.path.mkdir()
    config = config_of(run.path, search={"trials": 1})
    record = study_of(run.path, config)
    proposal = record.propose()
    assert proposal is not None
    new = ("replicates", "proxy_accuracy_sem", "score_sem")
    record.report(proposal.number, a_round(1, 0.5, **told))
    record.finish(proposal.number, TrialState.COMPLETE, None)
    write_model(run, 0, 0, 0.5)
    trials = read_trials(run.journal, None, STUDY)
    (ranked,) = write_tables(run, trials if told else without(trials, new))
    expected = {"replicates": 1, "proxy_accuracy_sem": None, "score_sem": None, **told}
    for table in (run.rounds, run.trials):
        (found,) = pq.read_table(table).to_pylist()
        assert {key: found[key] for key in new} == expected
    assert {key: ranked[key] for key in new[:2]} == {key: expected[key] for key in new[:2]}


LONGER = Recipe(epochs=6.0)
WORSE = Recipe(epochs=6.0, learning_rate=3.0)


def test_the_recipe_of_the_best_validation_accuracy_represents_a_ticket(run: RunDirectory) -> None:
    """Never that of the best test accuracy: here it is the shortest training, and the one with a mean of 0.7."""
    write_comparison(run, complete(0.7), complete(0.5))
    write_model(run, 0, 0, 0.9, validation_accuracy=0.60)
    write_model(run, 0, 0, 0.5, LONGER, validation_accuracy=0.61)
    write_model(run, 0, 1, 0.7, LONGER, validation_accuracy=0.65)
    write_model(run, 0, 0, 0.8, WORSE, validation_accuracy=0.1)
    write_model(run, 1, 0, 0.7, validation_accuracy=0.2)
    board = write_tables(run, read_trials(run.journal, None, STUDY))
    assert read_rows(run.leaderboard) == board
    assert [(row["rank"], row["trial"], row["recipe"], row["epochs"], row["seeds"]) for row in board] == [
        (1, 1, RetrainingMethod(RECIPE).key, 2, 1),
        (2, 0, RetrainingMethod(LONGER).key, 6, 2),
        (None, 0, RetrainingMethod(RECIPE).key, 2, 1),
        (None, 0, RetrainingMethod(WORSE).key, 6, 1),
    ]
    assert board[1]["test_accuracy"] == pytest.approx(0.6)
    assert board[1]["retraining_seconds"] == 4.0
    assert json.loads(board[3]["recipe_settings"])["learning_rate"] == 3.0


def test_of_equal_validation_accuracy_the_longer_training_is_shown(run: RunDirectory) -> None:
    write_comparison(run, complete(0.7))
    for recipe in (LONGER, RECIPE):
        write_model(run, 0, 0, 0.5, recipe)
    assert [row["epochs"] for row in write_tables(run, read_trials(run.journal, None, STUDY))] == [6, 2]


def test_a_model_from_a_version_that_named_no_recipe_is_ranked(run: RunDirectory) -> None:
    write_comparison(run, complete(0.7))
    folder = write_model(run, 0, 0, 0.5)
    told = TrainedModel.load(folder)
    results = {**told.results, "history": [{}, {}, {}]}
    del results["recipe"]
    replace(told, results=results).write_into(folder)
    (row,) = write_tables(run, read_trials(run.journal, None, STUDY))
    assert (row["rank"], row["recipe"], row["epochs"]) == (1, "unknown", 3)


def test_equal_accuracies_are_ranked_by_trial(run: RunDirectory) -> None:
    write_comparison(run, complete(0.5), complete(0.9), complete(0.7))
    for trial in (2, 1, 0):
        write_model(run, trial, 0, 0.5)
    assert [row["trial"] for row in write_tables(run, read_trials(run.journal, None, STUDY))] == [0, 1, 2]


def test_a_run_without_models_has_an_empty_leaderboard_of_the_same_columns(run: RunDirectory) -> None:
    write_comparison(run, complete(0.5))
    assert write_tables(run, read_trials(run.journal, None, STUDY)) == []
    empty = pq.read_table(run.leaderboard)
    write_model(run, 0, 0, 0.5)
    write_tables(run, read_trials(run.journal, None, STUDY))
    assert empty.num_rows == 0
    assert pq.read_table(run.leaderboard).schema == empty.schema


def test_a_damaged_model_is_named_rather_than_ranked(run: RunDirectory) -> None:
    write_comparison(run, complete(0.5))
    (write_model(run, 0, 0, 0.5) / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="00000-seed0"):
        write_tables(run, read_trials(run.journal, None, STUDY))


def test_tables_made_again_are_the_same(run: RunDirectory) -> None:
    write_comparison(run, complete(0.7, 0.6), complete(0.5))
    write_model(run, 1, 0, 0.5)
    write_tables(run, read_trials(run.journal, None, STUDY))
    before = [pq.read_table(path) for path in (run.rounds, run.trials, run.leaderboard)]
    torch.manual_seed(3)
    write_tables(run, read_trials(run.journal, None, STUDY))
    assert [pq.read_table(path) for path in (run.rounds, run.trials, run.leaderboard)] == before


def without(trials: list[FrozenTrial], keys: Collection[str]) -> list[FrozenTrial]:
    """Return trials as a version wrote them whose rounds did not have these keys."""
    for trial in trials:
        for name, row in trial.user_attrs.items():
            if name.startswith(ROUND):
                trial.user_attrs[name] = {key: value for key, value in row.items() if key not in keys}
    return trials


def report_rounds(run: RunDirectory, rounds: list[Round], state: TrialState, reason: str | None = None) -> None:
    """Write a study of one trial with these rounds."""
    run.path.mkdir()
    record = study_of(run.path, config_of(run.path, search={"trials": 1}))
    proposal = record.propose()
    assert proposal is not None
    for found in rounds:
        record.report(proposal.number, found)
    record.finish(proposal.number, state, reason)


RUNG_KEYS = ("rung", "rung_round", "fidelity", "rung_done", "latency_ms")


def test_rungs_are_in_the_tables(run: RunDirectory) -> None:
    looked = {"rung": 0, "rung_round": 1, "fidelity": "nwot", "rung_done": True, "latency_ms": 1.5}
    pruned = {"rung": 1, "rung_round": 1, "fidelity": "distilled-1", "rung_done": False, "latency_ms": 1.5}
    low = a_round(1, 40.0, proxy_accuracy=math.nan, proxy_loss=math.nan, **looked)
    report_rounds(run, [low, a_round(2, 0.5, **pruned)], TrialState.COMPLETE)
    write_tables(run, read_trials(run.journal, None, STUDY))
    first, second = pq.read_table(run.rounds).to_pylist()
    assert {key: first[key] for key in RUNG_KEYS} == looked
    assert math.isnan(first["proxy_accuracy"])
    (trial,) = pq.read_table(run.trials).to_pylist()
    assert {key: second[key] for key in RUNG_KEYS} == {key: trial[key] for key in RUNG_KEYS} == pruned


def test_a_run_from_before_the_ladder_has_one_rung(run: RunDirectory) -> None:
    report_rounds(run, [a_round(n, 0.5) for n in (1, 2)], TrialState.COMPLETE)
    write_tables(run, without(read_trials(run.journal, None, STUDY), RUNG_KEYS))
    found = pq.read_table(run.rounds).to_pylist()
    key = {"distilled": "distilled-2", "real": "real"}[pq.read_table(run.trials).to_pylist()[0]["source"]]
    assert [tuple(row[name] for name in RUNG_KEYS) for row in found] == [
        (0, 1, key, False, None),
        (0, 2, key, False, None),
    ]


def write_ticket(run: RunDirectory, trial: int, history: list[dict[str, Any]]) -> None:
    model = build(SPEC, (3, 8, 8), 3, seed=0)
    mask = Mask.ones(model)
    Ticket(SPEC, (3, 8, 8), 3, model.state_dict(), mask, history, {}).save(run.ticket(trial))


def test_an_audited_trial_that_was_stopped_has_what_its_ticket_came_to(run: RunDirectory) -> None:
    told = {"rung": 0, "rung_round": 1, "fidelity": "real", "rung_done": False}
    report_rounds(run, [a_round(1, 0.3, **told, latency_ms=1.5)], TrialState.PRUNED, "stopped early: rank 4 of 5")
    ended = a_round(3, 0.25, **told, latency_ms=None, seconds=9.0, image_gradients=999, parameters_left=77)
    write_ticket(run, 0, [a_round(1, 0.3, **told).to_row(), ended.to_row()])
    write_model(run, 0, 0, 0.5, image_gradients=600)
    write_model(run, 0, 1, 0.6, image_gradients=600)
    write_promotion(run.path / "promotion.json", Promotion(promoted=(), audited=(0,), population=1))
    (row,) = write_tables(run, read_trials(run.journal, None, STUDY))
    assert row["audited"]
    assert (row["proxy_accuracy"], row["parameters_left"], row["latency_ms"]) == (0.25, 77, 1.5)
    assert (row["screening_seconds"], row["image_gradients"]) == (9.0, 999)
    assert row["retraining_image_gradients"] == 1200
    (trial,) = pq.read_table(run.trials).to_pylist()
    assert (trial["state"], trial["seconds"]) == ("PRUNED", 0.25)  # as the study has it
    assert read_rows(run.leaderboard) == [row]


def test_a_promoted_model_is_not_audited(run: RunDirectory) -> None:
    write_comparison(run, complete(0.5))
    write_model(run, 0, 0, 0.5)
    (row,) = write_tables(run, read_trials(run.journal, None, STUDY))
    assert not row["audited"]
    assert row["retraining_image_gradients"] is None
    assert (row["flops_dense"], row["image_gradients"]) == (14208, 64)


def test_a_rejected_proposal_names_the_constraints_that_it_broke(run: RunDirectory) -> None:
    write_comparison(run, complete(0.5), still_running=1)
    fine, rejected = read_trials(run.journal, None, STUDY)
    rejected.state = TrialState.PRUNED
    rejected.set_user_attr("rejected", True)
    rejected.set_user_attr("reason", "rejected before training: 12 parameters left")
    for name, excess in (("max_flops", -0.5), ("max_parameters", 0.2), ("min_sparsity", 0.1)):
        rejected.set_constraint(name, excess)
    write_tables(run, [fine, rejected])
    first, second = pq.read_table(run.trials).to_pylist()
    assert (first["state"], first["broken_constraints"]) == ("COMPLETE", None)
    assert (second["state"], second["broken_constraints"]) == ("REJECTED", "max_parameters, min_sparsity")
    assert (second["rounds"], second["score"]) == (0, None)


def test_a_method_is_part_of_a_model_and_its_best_recipe_stands_for_it(run: RunDirectory) -> None:
    """Two methods of one ticket have a rank each; of the recipes of one, that of the higher validation accuracy."""
    write_comparison(run, complete(0.7))
    other = replace(RECIPE, learning_rate=0.5)
    gradual = RetrainingMethod.parse(other, "gradual", "x")
    measured = {"sparsity": 0.4, "parameters_left": 187, "flops_remaining": 9000}
    write_model(run, 0, 0, 0.60, validation_accuracy=0.4)
    write_model(run, 0, 0, 0.50, other, validation_accuracy=0.6)
    told = {key: value for key, value in gradual.to_dict().items() if key != "recipe"}
    folder = write_model(run, 0, 1, 0.70, other, validation_accuracy=0.3, **told, **measured)
    folder.rename(run.model(model_name(0, 0, gradual.key)))
    board = write_tables(run, read_trials(run.journal, None, STUDY))
    assert [(row["rank"], row["method"], row["test_accuracy"]) for row in board] == [
        (1, "gradual", 0.70),
        (2, "ticket", 0.50),
        (None, "ticket", 0.60),
    ]
    assert [row["recipe"].split("-")[1] for row in board[:1]] == ["gradual"]
    assert {name: board[0][name] for name in measured} == measured
    assert board[1]["parameters_left"] == 307  # of the ticket's own round
