"""The searcher and the scheduler, with a trial that only pretends to be Tune's."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from optuna.trial import TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from dp_core.errors import UserError
from search.study.record import StudyRecord
from search.study.trials import reason_of, rounds_of
from search.tune.study_parts import StudyScheduler, StudySearcher
from tests.search.tiny import a_round, config_of, study_of


@dataclass
class Pretended:
    """What the parts use of Tune's Trial."""

    config: dict[str, Any] = field(default_factory=dict)
    error_file: str | None = None
    failures: int = 0
    status: str = "RUNNING"
    trial_id: str = "any"

    def should_recover(self) -> bool:
        return self.failures <= 2


@pytest.fixture
def record(tmp_path: Path) -> StudyRecord:
    one_source = {"source": "real", "ipc": None}
    config = config_of(tmp_path, space=one_source, search={"trials": 2, "early_stopping": {"first_round": 1}})
    return study_of(tmp_path, config)


def result(number: int, score: float, status: str = "running", reason: str | None = None) -> dict[str, Any]:
    """Return what Tune hands on of a round: the row, what the trial says of itself, and Tune's own."""
    return {
        **a_round(number, score).to_row(),
        "status": status,
        "reason": reason,
        "training_iteration": number,
        "pid": 1,
    }


def searcher_of(record: StudyRecord, resume_from: Callable[[int], str | None] = lambda number: None) -> StudySearcher:
    return StudySearcher(record, resume_from, Path())


def begin(record: StudyRecord) -> tuple[StudyScheduler, Trial]:
    config = searcher_of(record).suggest("any")
    return StudyScheduler(record, lambda number: True), cast("Trial", Pretended(config or {}))


def test_the_searcher_hands_on_proposals_until_there_are_none(record: StudyRecord) -> None:
    searcher = searcher_of(record, lambda number: f"checkpoint of {number}")
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert first is not None
    assert second is not None
    assert (first["trial"], first["resume_from"]) == (0, None)
    assert (second["trial"], second["resume_from"]) == (1, None), "a new trial never takes up what lies in its place"
    assert record.trials()[0].user_attrs["candidate"] == first["candidate"]
    end: Any = searcher.suggest("c")
    assert end == Searcher.FINISHED


def test_a_trial_that_an_earlier_driver_began_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    config = config_of(tmp_path, space={"source": "real", "ipc": None}, search={"trials": 2})
    study_of(tmp_path, config).propose()
    later = study_of(tmp_path, config)
    searcher = searcher_of(later, lambda number: f"checkpoint of {number}")
    found = [(searcher.suggest(name) or {})["resume_from"] for name in ("a", "b")]
    assert found == ["checkpoint of 0", None]


@pytest.mark.parametrize(
    ("status", "state"),
    [("finished", TrialState.COMPLETE), ("collapsed", TrialState.PRUNED), ("diverged", TrialState.FAIL)],
)
def test_an_end_is_recorded_with_its_last_round_and_its_reason(
    record: StudyRecord, status: str, state: TrialState
) -> None:
    scheduler, trial = begin(record)
    assert scheduler.on_trial_result(None, trial, result(1, 0.5)) == TrialScheduler.CONTINUE
    reason = None if status == "finished" else "for a reason"
    scheduler.on_trial_complete(None, trial, result(2, 0.4, status, reason))
    frozen = record.trials()[0]
    assert (frozen.state, reason_of(frozen)) == (state, reason)
    assert rounds_of(frozen) == [a_round(1, 0.5), a_round(2, 0.4)]
    assert frozen.intermediate_values == {1: 0.5, 2: 0.4}


def test_a_round_that_an_earlier_driver_could_not_record_is_recorded(record: StudyRecord) -> None:
    scheduler, trial = begin(record)
    first, second = ({**result(number, 0.5), "seconds": 1.0} for number in (1, 2))
    assert scheduler.on_trial_result(None, trial, {**result(3, 0.4), "earlier": [first, second]}) == "CONTINUE"
    assert [found.round for found in rounds_of(record.trials()[0])] == [1, 2, 3]
    scheduler.on_trial_complete(None, trial, {**result(4, 0.4, "finished"), "earlier": [first, second, result(3, 0.4)]})
    assert [found.round for found in rounds_of(record.trials()[0])] == [1, 2, 3, 4], "none is recorded twice"


@pytest.mark.parametrize(("status", "rounds"), [("finished", [1, 2]), ("failed", [1])])
def test_so_it_is_of_a_trial_that_ends_at_once(record: StudyRecord, status: str, rounds: list[int]) -> None:
    scheduler, trial = begin(record)
    scheduler.on_trial_complete(None, trial, {**result(2, 0.4, status, "for a reason"), "earlier": [result(1, 0.5)]})
    assert [found.round for found in rounds_of(record.trials()[0])] == rounds


def test_a_missing_round_without_promise_stops_the_trial(record: StudyRecord) -> None:
    scheduler, good = begin(record)
    _, bad = begin(record)
    scheduler.on_trial_result(None, good, result(1, 0.5))
    late = {**result(2, 0.9), "earlier": [result(1, 0.3)]}
    assert scheduler.on_trial_result(None, bad, late) == TrialScheduler.STOP
    scheduler.on_trial_complete(None, bad, late)
    assert reason_of(record.trials()[1]) == "stopped early after round 2: others were better"


def test_once_the_run_is_halted_no_round_is_recorded_beyond_one_that_could_not_be(record: StudyRecord) -> None:
    scheduler, trial = begin(record)
    record.halt(UserError("There is no room left on the disk."))
    assert scheduler.on_trial_result(None, trial, result(1, 0.5)) == TrialScheduler.CONTINUE
    assert rounds_of(record.trials()[0]) == []


def test_a_trial_without_promise_is_stopped_and_pruned(record: StudyRecord) -> None:
    scheduler, good = begin(record)
    _, bad = begin(record)
    assert scheduler.on_trial_result(None, good, result(1, 0.5)) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, bad, result(1, 0.3)) == TrialScheduler.STOP
    scheduler.on_trial_complete(None, bad, result(1, 0.3))
    frozen = record.trials()[1]
    assert frozen.state == TrialState.PRUNED
    assert reason_of(frozen) == "stopped early after round 1: others were better"


def test_what_a_trial_raised_is_recorded_as_its_reason(record: StudyRecord) -> None:
    scheduler, trial = begin(record)
    failed = {"status": "failed", "reason": "ValueError: no such thing", "traceback": "…", "done": True}
    scheduler.on_trial_complete(None, trial, failed)
    frozen = record.trials()[0]
    assert (frozen.state, reason_of(frozen)) == (TrialState.FAIL, "ValueError: no such thing")


def test_a_finished_trial_whose_ticket_could_not_be_written_is_a_failure(record: StudyRecord) -> None:
    _, trial = begin(record)
    scheduler = StudyScheduler(record, lambda number: False)
    scheduler.on_trial_complete(None, trial, result(1, 0.7, "finished"))
    frozen = record.trials()[0]
    assert (frozen.state, reason_of(frozen)) == (
        TrialState.FAIL,
        "its ticket could not be written to the run directory",
    )


def test_a_trial_that_never_ran_is_not_left_running(record: StudyRecord) -> None:
    scheduler, trial = begin(record)
    scheduler.on_trial_remove(None, trial)
    assert record.trials()[0].state == TrialState.FAIL


def test_what_is_given_up_is_a_failure(record: StudyRecord) -> None:
    scheduler, trial = begin(record)
    scheduler.given_up(trial, "its worker was lost 4 times without a round in between")
    frozen = record.trials()[0]
    assert (frozen.state, reason_of(frozen)) == (
        TrialState.FAIL,
        "its worker was lost 4 times without a round in between",
    )


def test_a_halted_run_leaves_its_trials_to_be_taken_up_again(record: StudyRecord) -> None:
    scheduler, trial = begin(record)
    searcher = searcher_of(record)
    scheduler.no_room(UserError("There is no room left on the disk for x."))
    scheduler.on_trial_complete(None, trial, result(1, 0.7, "finished"))
    scheduler.given_up(trial, "whatever")
    assert record.trials()[0].state == TrialState.RUNNING
    end: Any = searcher.suggest("next")
    assert end == Searcher.FINISHED
    assert str(record.halted) == "There is no room left on the disk for x."


def test_nothing_is_begun_on_a_disk_without_room(record: StudyRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2**20))
    end: Any = searcher_of(record).suggest("any")
    assert end == Searcher.FINISHED
    assert record.trials() == []
    assert "There is no room left on the disk for" in str(record.halted)


def test_tune_may_pickle_them_and_gets_nothing(record: StudyRecord) -> None:
    for part in (searcher_of(record, lambda number: None), StudyScheduler(record, lambda number: True)):
        assert part.__getstate__() == {}
        pickle.dumps(part)
