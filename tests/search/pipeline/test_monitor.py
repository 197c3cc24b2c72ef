"""What the driver says, draws and keeps when a trial reports, with trials that only pretend to be Tune's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from optuna.trial import TrialState
from ray import tune
from ray.tune.experiment import Trial

from search.pipeline.bad_ends import BadEnd, BadEnds, read_bad_ends
from search.pipeline.monitor import RetrainingMonitor, ScreeningMonitor, TicketMonitor, export
from search.pipeline.tensorboard import TensorBoardLog
from search.runs.directory import RunDirectory
from search.runs.progress import Progress
from search.study.record import StudyRecord
from search.tune.lost_workers import PatientScheduler
from tests.search.tiny import a_round, config_of, study_of


@dataclass
class Pretended:
    config: dict[str, Any]
    last_result: dict[str, Any] = field(default_factory=dict)


def pretended(config: dict[str, Any], **last_result: Any) -> Trial:
    return cast("Trial", Pretended(config, last_result))


def checkpoint(folder: Path, part: str) -> tune.Checkpoint:
    """Return a checkpoint with a state and a part."""
    (folder / part).mkdir(parents=True)
    (folder / part / "card.json").write_text(part)
    (folder / "state.pt").write_text("the state")
    return tune.Checkpoint(str(folder))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def record(run: RunDirectory) -> StudyRecord:
    run.path.mkdir()
    config = config_of(run.path, space={"source": "real", "ipc": None})
    return study_of(run.path, config)


@pytest.fixture
def screened(run: RunDirectory, record: StudyRecord) -> ScreeningMonitor:
    return ScreeningMonitor(run, record, PatientScheduler(0, None), TensorBoardLog(run.tensorboard), Progress())


def end(record: StudyRecord, monitor: ScreeningMonitor, state: TrialState, *scores: float) -> None:
    proposal = record.propose()
    assert proposal is not None
    for number, score in enumerate(scores, start=1):
        record.report(proposal.number, a_round(number, score))
    record.finish(proposal.number, state, None if state == TrialState.COMPLETE else "a reason")
    monitor.on_trial_complete(0, [], pretended({"trial": proposal.number}))


def retraining_monitor(run: RunDirectory, progress: Progress) -> RetrainingMonitor:
    ends, board = BadEnds(run.bad_ends), TensorBoardLog(run.tensorboard)
    return RetrainingMonitor(run, PatientScheduler(0, None), ends, board, progress, 4)


def test_only_a_finished_trial_has_a_ticket(screened: ScreeningMonitor, run: RunDirectory, tmp_path: Path) -> None:
    found = checkpoint(tmp_path / "checkpoint", "ticket")
    for status in ("running", "diverged", "collapsed"):
        screened.on_checkpoint(0, [], pretended({"trial": 7}, status=status), found)
        assert run.tickets() == []
    screened.on_checkpoint(0, [], pretended({"trial": 7}, status="finished"), found)
    assert run.tickets() == [7]
    assert [path.name for path in run.ticket(7).iterdir()] == ["card.json"]


def test_every_end_is_one_line(
    screened: ScreeningMonitor, record: StudyRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    end(record, screened, TrialState.COMPLETE, 0.25, 0.5)
    end(record, screened, TrialState.FAIL)
    finished, failed = capsys.readouterr().err.splitlines()
    assert "1/4 trial 0 finished: round 2, proxy 50.0% at sparsity 50.0%" in finished
    assert "best score on real 0.5" in finished
    assert "2/4 trial 1 failed: no round (a reason)" in failed


def test_a_mean_over_replicates_is_told_with_its_standard_error(
    screened: ScreeningMonitor, record: StudyRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal = record.propose()
    assert proposal is not None
    record.report(proposal.number, a_round(1, 0.31, proxy_accuracy_sem=0.0082, replicates=4))
    record.finish(proposal.number, TrialState.COMPLETE, None)
    screened.on_trial_complete(0, [], pretended({"trial": proposal.number}))
    assert "round 1, proxy 31.0% ± 0.8% at sparsity 0.0%" in capsys.readouterr().err


def test_the_best_score_is_that_of_a_finished_trial(
    screened: ScreeningMonitor, record: StudyRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    end(record, screened, TrialState.PRUNED, 0.9)
    end(record, screened, TrialState.COMPLETE, 0.95, 0.5)
    stopped, finished = capsys.readouterr().err.splitlines()
    assert "best score" not in stopped
    assert "best score on real 0.5" in finished


def test_a_retrained_model_is_kept_as_soon_as_it_is_done(run: RunDirectory, tmp_path: Path) -> None:
    monitor = retraining_monitor(run, Progress(quiet=True))
    job = {"job": {"trial": 3, "seed": 1, "name": "00003-seed1-2epochs-abc123"}}
    found = checkpoint(tmp_path / "checkpoint", "model")
    monitor.on_checkpoint(0, [], pretended(job, status="running", epoch=1), found)
    assert run.models() == []
    monitor.on_checkpoint(0, [], pretended(job, status="finished", epoch=2, test_accuracy=0.5), found)
    assert run.models() == [run.model("00003-seed1-2epochs-abc123")]


def test_epochs_of_all_trainings_are_counted_together(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = retraining_monitor(run, Progress())
    row = {"train_loss": 1.0, "validation_accuracy": 0.5, "learning_rate": 0.1, "seconds": 1.0}
    one, other = (pretended({"job": {"trial": trial, "name": f"0000{trial}-seed0"}}) for trial in (3, 4))
    for trial, epoch in ((one, 1), (other, 1), (other, 2), (one, 2)):
        monitor.on_trial_result(0, [one, other], trial, {**row, "epoch": epoch})
        trial.last_result["epoch"] = epoch
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].split(maxsplit=2)[2] == "4/4 epochs, 00003-seed0: validation 50.0%"


@pytest.mark.parametrize(("status", "trace"), [("diverged", None), ("failed", "Traceback: its lines")])
def test_a_retraining_that_came_to_nothing_is_written_down(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], status: str, trace: str | None
) -> None:
    run.path.mkdir()
    monitor = retraining_monitor(run, Progress())
    name = "00003-seed1-2epochs-abc123"
    told = {"status": status, "reason": "the loss became nan", **({"traceback": trace} if trace else {})}
    monitor.on_trial_complete(0, [], pretended({"job": {"trial": 3, "seed": 1, "name": name}}, **told))
    assert read_bad_ends(run.bad_ends) == (BadEnd(3, status, "the loss became nan", name),)
    assert f"the retraining {name} {status}: the loss became nan" in capsys.readouterr().err
    assert run.error(name).exists() == (trace is not None)


@pytest.mark.parametrize("status", ["collapsed", "diverged", "failed"])
def test_a_ticket_that_came_to_nothing_is_written_down(run: RunDirectory, status: str) -> None:
    run.path.mkdir()
    monitor = TicketMonitor(run, PatientScheduler(0, None), BadEnds(run.bad_ends), Progress(quiet=True))
    monitor.on_trial_complete(0, [], pretended({"trial": 5}, status=status, reason="no weights were left"))
    assert read_bad_ends(run.bad_ends) == (BadEnd(5, status, "no weights were left"),)


def test_a_part_of_a_checkpoint_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    found = checkpoint(tmp_path / "checkpoint", "ticket")
    target = tmp_path / "tickets" / "00001"
    target.mkdir(parents=True)
    (target / "stale").write_text("old")
    export(found, "ticket", target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"card.json": "ticket"}
    assert [path.name for path in target.parent.iterdir()] == ["00001"]


def test_a_checkpoint_without_the_part_leaves_what_was_there(tmp_path: Path) -> None:
    found = checkpoint(tmp_path / "checkpoint", "model")
    target = tmp_path / "tickets" / "00001"
    target.mkdir(parents=True)
    (target / "card.json").write_text("old")
    with pytest.raises(OSError, match="ticket"):
        export(found, "ticket", target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"card.json": "old"}
    assert [path.name for path in target.parent.iterdir()] == ["00001"]
