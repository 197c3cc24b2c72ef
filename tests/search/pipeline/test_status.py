from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from dp_core.errors import UserError
from search.pipeline.promotion_file import Promotion, write_promotion
from search.pipeline.retraining_plan import RetrainingPlan
from search.pipeline.status import _models_wanted, status_of
from search.runs.directory import RunDirectory
from search.study.record import StudyRecord
from search.study.trials import stopped_early
from tests.search.tiny import a_round, config_of, config_tree, study_of

SETTINGS: dict[str, Any] = {"search": {"trials": 5}, "promote": {"top": 2}, "retrain": {"seeds": 2}}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "tiny")
    run.path.mkdir(parents=True)
    recorded = {
        "data": dict.fromkeys(("train", "validation", "test"), "0"),
        "config": config_tree(tmp_path, **SETTINGS),
        "distilled_sets": {},
    }
    run.config.write_text(yaml.safe_dump(recorded))
    return run


def record_of(run: RunDirectory, tmp_path: Path) -> StudyRecord:
    config = config_of(tmp_path, **SETTINGS)
    return study_of(run.path, config)


def end(
    record: StudyRecord, state: TrialState, score: float, reason: str | None = None, fidelity: str = "real"
) -> None:
    proposal = record.propose()
    assert proposal is not None
    record.report(proposal.number, a_round(1, score, fidelity=fidelity))
    record.finish(proposal.number, state, reason)


def test_a_run_that_has_only_just_been_written_down(run: RunDirectory) -> None:
    found = status_of(run)
    assert found["state"] == "stopped"
    assert (found["trials_wanted"], found["models_wanted"], found["tickets"]) == (5, 4, 0)
    assert (found["models"], found["best"]) == ([], [])


def test_trials_are_counted_by_what_became_of_them(run: RunDirectory, tmp_path: Path) -> None:
    record = record_of(run, tmp_path)
    end(record, TrialState.COMPLETE, 0.4)
    # Never the best: it was scored at another sparsity.
    end(record, TrialState.PRUNED, 0.95, stopped_early(1))
    end(record, TrialState.COMPLETE, 0.6)
    end(record, TrialState.FAIL, 0.1)
    end(record, TrialState.PRUNED, 0.2, "a layer has no weights left")
    assert counted(status_of(run)) == {
        "finished": 2, "stopped_early": 1, "collapsed": 1, "failed": 1, "running": 0, "interrupted": 0,
    }  # fmt: skip
    assert status_of(run)["best"] == [{"on": "real", "score": 0.6, "trial": 2}]


def counted(found: dict[str, Any]) -> dict[str, int]:
    keys = ("finished", "stopped_early", "collapsed", "failed", "running", "interrupted")
    return {key: found[f"trials_{key}"] for key in keys}


def test_nothing_runs_without_a_driver(run: RunDirectory, tmp_path: Path) -> None:
    record = record_of(run, tmp_path)
    record.propose()
    record.propose()
    assert (counted(status_of(run))["running"], counted(status_of(run))["interrupted"]) == (0, 2)
    with run.locked():
        assert counted(status_of(run))["interrupted"] == 2, "until the driver takes them up"
        run.enter("screening")
        # One at a time, as this search goes.
        assert (counted(status_of(run))["running"], counted(status_of(run))["interrupted"]) == (1, 1)


def test_what_is_on_different_scales_has_a_best_each(run: RunDirectory, tmp_path: Path) -> None:
    record = record_of(run, tmp_path)
    for score, fidelity in ((0.7, "real"), (0.2, "distilled-10"), (0.3, "distilled-5"), (0.25, "distilled-10")):
        end(record, TrialState.COMPLETE, score, fidelity=fidelity)
    assert status_of(run)["best"] == [
        {"on": "distilled-10", "score": 0.25, "trial": 3},
        {"on": "distilled-5", "score": 0.3, "trial": 2},
        {"on": "real", "score": 0.7, "trial": 0},
    ]


def test_there_are_never_more_of_a_kind_than_in_all(run: RunDirectory, tmp_path: Path) -> None:
    record = study_of(run.path, config_of(tmp_path, **{**SETTINGS, "search": {"trials": 7}}))
    for _ in range(7):
        end(record, TrialState.COMPLETE, 0.4)
    write_promotion(run.promotion, Promotion(promoted=(3, 2), audited=(), population=0, earlier=(1,)))
    plan = RetrainingPlan.of(config_of(tmp_path, **SETTINGS).retrain)
    for trial in (1, 2, 3):  # the first of an earlier promotion
        for seed in (0, 1):
            run.model(plan.names(trial)[seed]).mkdir(parents=True)
    found = status_of(run)
    assert (found["trials_finished"], found["trials_wanted"]) == (7, 7)
    assert (found["models_retrained"], found["models_wanted"], len(found["models"])) == (4, 4, 6)
    assert found["state"] == "finished"


def test_fewer_finished_trials_than_promoted_want_fewer_models(run: RunDirectory, tmp_path: Path) -> None:
    record = record_of(run, tmp_path)
    end(record, TrialState.COMPLETE, 0.4)
    for _ in range(2):
        end(record, TrialState.FAIL, 0.4)
    assert status_of(run)["models_wanted"] == 4, "of the three that may still finish two are promoted"
    for _ in range(2):
        end(record, TrialState.FAIL, 0.4)
    assert status_of(run)["models_wanted"] == 2, "one ticket, two seeds"


def test_every_method_and_value_that_is_tuned_makes_a_model(tmp_path: Path) -> None:
    retrain = {**SETTINGS["retrain"], "method": ["gradual", "ticket"], "tune": {"learning_rate": [0.1, 0.2, 0.3]}}
    config = config_of(tmp_path, **{**SETTINGS, "retrain": retrain})
    assert _models_wanted(config, Counter(), 5) == 4 * 2 * 3


def test_a_run_that_is_driven_is_in_the_phase_that_its_driver_has_entered(run: RunDirectory, tmp_path: Path) -> None:
    record = record_of(run, tmp_path)
    plan = RetrainingPlan.of(config_of(tmp_path, **SETTINGS).retrain)
    with run.locked():
        assert status_of(run)["state"] == "starting"
        for phase in ("distilling", "screening", "retraining"):
            run.enter(phase)
            assert status_of(run)["state"] == phase
    assert status_of(run)["state"] == "stopped"
    for _ in range(5):
        end(record, TrialState.COMPLETE, 0.1)
    assert status_of(run)["state"] == "stopped", "nothing is retrained yet"
    write_promotion(run.promotion, Promotion(promoted=(3, 2), audited=(1,), population=2, lost=(1,)))
    for trial in (3, 2):
        for seed in (0, 1):
            assert status_of(run)["state"] == "stopped"
            run.model(plan.names(trial)[seed]).mkdir(parents=True)
    assert status_of(run)["state"] == "finished"
    with run.locked():
        assert status_of(run)["state"] == "starting", "a driver looks at it again"


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
