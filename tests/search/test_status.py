from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from dp_core.errors import UserError
from search.promotion import Promotion, write_promotion
from search.retraining_plan import RetrainingPlan
from search.run_directory import RunDirectory
from search.status import status_of
from search.study.record import StudyRecord
from tests.search.tiny import config_of, config_tree, round_row, study_of

SETTINGS: dict[str, Any] = {"search": {"trials": 5}, "promote": {"top": 2}, "retrain": {"seeds": 2}}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "tiny")
    run.path.mkdir(parents=True)
    recorded = {"data": {}, "config": config_tree(tmp_path, **SETTINGS), "distilled_sets": {}}
    run.config.write_text(yaml.safe_dump(recorded))
    return run


def record_of(run: RunDirectory, tmp_path: Path) -> StudyRecord:
    config = config_of(tmp_path, **SETTINGS)
    return study_of(run.path, config)


def end(record: StudyRecord, state: TrialState, score: float) -> None:
    proposal = record.propose()
    assert proposal is not None
    record.report(proposal.number, round_row(1, score))
    record.finish(proposal.number, state, None)


def test_a_run_that_has_only_just_been_written_down(run: RunDirectory) -> None:
    found = status_of(run)
    assert found["state"] == "stopped"
    assert (found["trials_wanted"], found["models_wanted"], found["models"], found["tickets"]) == (5, 4, 0, 0)
    assert (found["best_trial"], found["best_score"]) == (None, None)


def test_trials_are_counted_by_what_became_of_them(run: RunDirectory, tmp_path: Path) -> None:
    record = record_of(run, tmp_path)
    end(record, TrialState.COMPLETE, 0.4)
    end(record, TrialState.PRUNED, 0.95)  # never the best: it was scored at another sparsity
    end(record, TrialState.COMPLETE, 0.6)
    end(record, TrialState.FAIL, 0.1)
    record.propose()
    found = status_of(run)
    numbers = {key: found[f"trials_{key}"] for key in ("finished", "stopped_early", "failed", "running")}
    assert numbers == {"finished": 2, "stopped_early": 1, "failed": 1, "running": 1}
    assert (found["best_trial"], found["best_score"]) == (2, 0.6)
    assert found["state"] == "stopped"


def test_fewer_finished_trials_than_promoted_want_fewer_models(run: RunDirectory, tmp_path: Path) -> None:
    end(record_of(run, tmp_path), TrialState.COMPLETE, 0.4)
    assert status_of(run)["models_wanted"] == 2  # one ticket, two seeds


def test_a_run_is_screening_then_retraining_then_finished(run: RunDirectory, tmp_path: Path) -> None:
    record = record_of(run, tmp_path)
    plan = RetrainingPlan.of(config_of(tmp_path, **SETTINGS).retrain)
    with run.locked():
        assert status_of(run)["state"] == "screening"
        for score in (0.1, 0.2, 0.3, 0.4):
            end(record, TrialState.COMPLETE, score)
        assert status_of(run)["state"] == "screening"
        end(record, TrialState.FAIL, 0.1)
        assert status_of(run)["state"] == "retraining"
        write_promotion(run.promotion, Promotion(promoted=(3, 2), audited=(1,), population=2, lost=(1,)))
        for trial in (3, 2):
            for seed in (0, 1):
                assert status_of(run)["state"] == "retraining"
                run.model(plan.names(trial)[seed]).mkdir(parents=True)
        assert status_of(run)["state"] == "finished"
    assert status_of(run)["state"] == "finished"


def test_looking_changes_nothing(run: RunDirectory, tmp_path: Path) -> None:
    end(record_of(run, tmp_path), TrialState.COMPLETE, 0.4)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    status_of(run)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", ["", "[", "data: {}", "- 1"])
def test_a_run_whose_record_is_damaged_is_named(run: RunDirectory, content: str) -> None:
    run.config.write_text(content)
    with pytest.raises(UserError) as caught:
        status_of(run)
    assert str(run.config) in str(caught.value)


@pytest.mark.parametrize("content", ["[", "{data: {}, config: {run: 3}}"])
def test_a_mistake_in_a_runs_record_is_one_line(run: RunDirectory, content: str) -> None:
    run.config.write_text(content)
    with pytest.raises(UserError) as caught:
        status_of(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("storage", [None, "sqlite"])
def test_a_run_whose_study_is_gone_is_not_taken_for_one_without_trials(
    run: RunDirectory, tmp_path: Path, storage: str | None
) -> None:
    url = None if storage is None else f"sqlite:///{tmp_path / 'study.db'}"
    recorded = yaml.safe_load(run.config.read_text())
    recorded["config"]["search"]["storage"] = url
    run.config.write_text(yaml.safe_dump(recorded))
    assert status_of(run)["trials_finished"] == 0, "nothing says that it has begun"
    run.agreed.write_text("{}")
    with pytest.raises(UserError, match="is gone: there is neither" if url is None else "is not in the database"):
        status_of(run)
