"""One search from start to leaderboard: killed, resumed, interrupted, resumed again, and looked at all along."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dp_core.files import digest_of_file
from dp_core.pruning import Ticket
from search import pipeline
from search.cli.main import main
from search.config.loader import load_config
from search.config.models import SearchConfig
from search.pipeline import run as run_module
from search.pipeline.preparation import prepare
from search.pipeline.run import wanted_sets
from search.pipeline.screening import screening_context
from search.runs.directory import RunDirectory, model_name
from search.runs.distilled_sets import make_sets
from search.runs.progress import Progress
from search.study.storage.store import read_trials
from search.study.trials import STUDY, reason_of, rounds_of, written_candidate
from tests.search.json_shape import of_table, rows_of_run
from tests.search.processes import Program
from tests.search.tiny import TEST, write_config
from tests.trainables.driving import rows, screening
from trainables.retraining.trained_model import TrainedModel
from trainables.screening.round import Round, finite

pytestmark = pytest.mark.ray

# A network of the user's own, which the tests can slow down: a search that is to be interrupted must last.
USERS_MODEL = """
import os
import time
from torch import nn

class Patient(nn.Sequential):
    factor = 1.0

    def forward(self, images):
        time.sleep(float(os.environ.get("WINNOW_TEST_PAUSE", "0")))
        return super().forward(images) * self.factor

def network(input_shape, classes, *, width=4, broken=False):
    channels, height, width_of_image = input_shape
    model = Patient(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(width * (height // 2) * (width_of_image // 2), classes),
    )
    model.factor = float("inf") if broken else 1.0
    return model
"""
SETTINGS: dict[str, Any] = {
    "space": {
        "model": {
            "name": "my_models:network",
            "width": {"choice": [4, 6]},
            # Every third trial fails, as some do, and is part of the record.
            "broken": {"choice": [True], "when": {"source": "subset"}},
            **dict.fromkeys(("depth", "norm", "pooling")),
        },
        "source": {"choice": ["distilled", "real", "subset"]},
        "ipc": {"when": {"source": ["distilled", "subset"]}},
        "recipe": {"precision": "float32"},
    },
    "screen": {"replicates": 2},
    "search": {"trials": 7, "early_stopping": {"method": "none"}},
    "promote": {"top": 2},
    "retrain": {"epochs": 2, "recipe": {"precision": "float32"}},
}
SLOWLY = {"WINNOW_TEST_PAUSE": "0.03"}


@dataclass(frozen=True)
class Moment:
    """What the run directory held at one time."""

    trials: Mapping[int, tuple[str, float | None, str | None, dict[str, Any], list[Round]]]
    files: Mapping[str, str]
    status: dict[str, Any]

    def ended(self) -> dict[int, Any]:
        return {number: trial for number, trial in self.trials.items() if trial[0] not in ("RUNNING", "WAITING")}

    def of(self, folder: str) -> dict[str, str]:
        return {name: digest for name, digest in self.files.items() if name.startswith(folder)}


@dataclass(frozen=True)
class Told:
    """What a command said, its exit status, how long it took, and what of its processes was left."""

    status: int
    out: str
    err: str = ""
    seconds: float = 0.0
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Story:
    """All that happened to the run, in order."""

    run: RunDirectory
    killed: Told
    after_kill: Moment
    interrupted: Told
    after_interrupt: Moment
    finished: Told
    after_finish: Moment
    again: Told
    after_again: Moment
    on_terminate: Any  # how the process would have answered SIGTERM while Ray ran


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    write_config(folder, **SETTINGS)
    (folder / "my_models.py").write_text(USERS_MODEL)
    run = RunDirectory(folder / "runs" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        killed = _stop(Program("winnow", ["search", "tiny.yaml"], folder, SLOWLY), run, 1, signal.SIGKILL)
        after_kill = _look(run)
        interrupted = _stop(Program("winnow", ["resume", "runs/tiny"], folder, SLOWLY), run, 3, signal.SIGINT)
        after_interrupt = _look(run)
        finished = _winnow("resume", "runs/tiny", "--json")
        after_finish = _look(run)
        advance, handlers = run_module.advance, []

        def listening(*arguments: Any) -> None:
            handlers.append(signal.getsignal(signal.SIGTERM))
            advance(*arguments)

        patch.setattr(pipeline, "advance", listening)
        again = _winnow("resume", "tiny")
        yield Story(
            run,
            killed,
            after_kill,
            interrupted,
            after_interrupt,
            finished,
            after_finish,
            again,
            after_again=_look(run),
            on_terminate=handlers[0],
        )
    sys.modules.pop("my_models", None)


def _stop(program: Program, run: RunDirectory, complete: int, number: signal.Signals) -> Told:
    """Send a signal once so many trials have finished."""
    try:
        program.wait_until(lambda: _states(run).count("COMPLETE") >= complete)
        status = program.signal(number)
        return Told(status, program.output, left=tuple(program.survivors()))
    finally:
        program.end()


def _states(run: RunDirectory) -> list[str]:
    return [trial.state.name for trial in read_trials(run.journal, None, STUDY)]


def _winnow(*arguments: str) -> Told:
    """Run a command in this process, which has imported torch and Ray already."""
    began, status = time.monotonic(), 0
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["winnow", *arguments])
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Told(status, out.getvalue(), err.getvalue(), time.monotonic() - began)


def _look(run: RunDirectory) -> Moment:
    trials = {
        trial.number: (trial.state.name, trial.value, reason_of(trial), written_candidate(trial), rounds_of(trial))
        for trial in read_trials(run.journal, None, STUDY)
    }
    files = {str(path.relative_to(run.path)): digest_of_file(path) for path in run.path.rglob("*") if path.is_file()}
    return Moment(trials, files, rows_of_run(_winnow("status", str(run.path), "--json").out, run.path)[0])


def test_a_killed_driver_takes_its_ray_with_it(story: Story) -> None:
    assert story.killed.status == -signal.SIGKILL
    assert story.killed.left == ()


def test_it_is_said_what_the_splits_are(story: Story) -> None:
    assert re.search(
        r"data +train: \d+ images from train-00000-of-00001\.parquet; validation: \d+ held back from them; "
        r"test: 15 from test-00000-of-00001\.parquet\n",
        story.finished.err,
    )


def test_a_killed_search_is_known_to_be_stopped(story: Story) -> None:
    status = story.after_kill.status
    assert status["state"] == "stopped"
    assert 1 <= status["trials_finished"] < 7
    assert (status["models_retrained"], status["models"]) == (0, [])


def test_a_trial_has_its_ticket_before_it_is_finished(story: Story) -> None:
    for moment in (story.after_kill, story.after_interrupt):
        complete = {number for number, trial in moment.trials.items() if trial[0] == "COMPLETE"}
        assert complete <= {int(name.split("/")[1]) for name in moment.of("tickets/") if name.endswith("card.json")}


def test_ctrl_c_takes_ray_with_it(story: Story) -> None:
    assert story.interrupted.left == ()
    assert story.after_interrupt.status["state"] == "stopped"


def test_ctrl_c_says_how_to_go_on(story: Story) -> None:
    told = story.interrupted
    assert told.status == 130
    assert "Traceback" not in told.out
    assert told.out.rstrip().endswith("go on with: winnow resume runs/tiny")


def test_an_interrupted_search_has_tables_of_what_it_did(story: Story) -> None:
    expected = {"rounds.parquet", "trials.parquet", "leaderboard.parquet", "report.html"}
    assert expected <= set(story.after_interrupt.files)


def test_what_had_ended_is_kept_unchanged(story: Story) -> None:
    moments = (story.after_kill, story.after_interrupt, story.after_finish)
    assert len(moments[0].ended()) < len(moments[1].ended()) < len(moments[2].ended())
    for earlier, later in itertools.pairwise(moments):
        for number, trial in earlier.ended().items():
            assert later.trials[number] == trial
        assert earlier.of("tickets/").items() <= later.of("tickets/").items()


def test_what_was_proposed_is_proposed_again_and_its_rounds_are_kept(story: Story) -> None:
    moments = (story.after_kill, story.after_interrupt, story.after_finish)
    for earlier, later in itertools.pairwise(moments):
        for number, (_, _, _, candidate, rounds) in earlier.trials.items():
            assert later.trials[number][3] == candidate or not candidate  # killed before it was written down
            assert later.trials[number][4][: len(rounds)] == rounds


def test_the_target_is_reached_and_nothing_is_left_running(story: Story) -> None:
    assert story.finished.status == 0
    states = [trial[0] for trial in story.after_finish.trials.values()]
    assert len(states) == 7
    assert [number for number, state in enumerate(states) if state == "FAIL"] == [2, 5]
    assert states.count("COMPLETE") == 5
    assert story.after_finish.status["state"] == "finished"
    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(story.run.journal))))
    assert [trial.state.name for trial in study.trials] == states


def test_sources_took_turns(story: Story) -> None:
    sources = [trial[3]["source"] for trial in story.after_finish.trials.values()]
    assert sources == ["distilled", "real", "subset"] * 2 + ["distilled"]


def test_trials_that_diverged_failed_with_their_reason(story: Story) -> None:
    for state, value, reason, candidate, rounds in story.after_finish.trials.values():
        if candidate["source"] == "subset":
            assert (state, value, len(rounds)) == ("FAIL", None, 1)
            assert reason == "replicate 1 of 2: the loss became nan by step 4 of 4"
        else:
            assert (state, value, reason) == ("COMPLETE", rounds[-1].score, None)


def test_trials_are_those_of_a_search_that_nobody_stopped(story: Story, tmp_path: Path) -> None:
    """Drive every trial again, from its start to its end, without Ray: the same rounds and, bit for bit, tickets."""
    config = load_config(SearchConfig, story.run.path.parents[1] / "tiny.yaml")
    prepared = prepare(config, "tiny.yaml", local=False)
    folder = prepared.config.distill.directory
    sets = make_sets(wanted_sets(prepared), prepared.splits, folder, 0, story.run, Progress(quiet=True))
    context = screening_context(prepared, sets)
    for number, (state, value, _, candidate, rounds) in story.after_finish.trials.items():
        trial = screening(context, candidate, trial=number)
        found = list(rows(trial))
        told = [Round.from_row(finite(row)) for row in found]
        assert [replace(each, seconds=0.0) for each in told] == [replace(each, seconds=0.0) for each in rounds]
        if state == "COMPLETE":
            assert value == found[-1]["score"]
            (saved := tmp_path / str(number)).mkdir()
            trial.save_checkpoint(str(saved))
            ticket, again = Ticket.load(story.run.ticket(number)), Ticket.load(saved / "ticket")
            assert all(torch.equal(ticket.mask[name], again.mask[name]) for name in again.mask)
            assert all(torch.equal(ticket.weights[name], again.weights[name]) for name in again.weights)


def test_the_leaderboard_is_what_json_prints(story: Story) -> None:
    board = rows_of_run(story.finished.out, story.run.path)
    assert pq.read_table(story.run.leaderboard).to_pylist() == of_table(board)
    assert [row["rank"] for row in board] == [1, 2]
    assert board[0]["test_accuracy"] >= board[1]["test_accuracy"]
    assert {row["source"] for row in board} == {"distilled", "real"}
    for row in board:
        assert row["models"] == [str(story.run.model(model_name(row["trial"], 0, row["recipe"])))]
        assert Path(row["report"]).exists()
        state, _, _, candidate, rounds = story.after_finish.trials[row["trial"]]
        assert state == "COMPLETE"
        assert row["architecture"] == f"my_models:network width={candidate['model']['width']}"
        assert row["proxy_accuracy"] == rounds[-1].proxy_accuracy
        assert row["proxy_accuracy_sem"] == rounds[-1].proxy_accuracy_sem is not None
        assert row["replicates"] == Ticket.load(story.run.ticket(row["trial"])).provenance["replicates"] == 2
        assert row["screening_seconds"] == rounds[-1].seconds
        assert (row["test_accuracy"] * 3 * TEST) % 1 == pytest.approx(0, abs=1e-9)


def test_models_are_their_tickets_retrained(story: Story) -> None:
    for row in pq.read_table(story.run.leaderboard).to_pylist():
        model = TrainedModel.load(story.run.model(model_name(row["trial"], 0, row["recipe"])))
        assert model.results["test_accuracy"] == row["test_accuracy"]
        for name, kept in Ticket.load(story.run.ticket(row["trial"])).mask.items():
            assert torch.count_nonzero(model.weights[name][~kept]) == 0


def test_the_run_directory_is_laid_out_as_designed(story: Story) -> None:
    names = {path.name for path in story.run.path.iterdir()}
    assert names == {
        "run.yaml",
        "config.json",
        "promotion.json",
        "study.journal",
        "study.journal.mirror",
        "screening",
        "retraining",
        "rounds.parquet",
        "trials.parquet",
        "leaderboard.parquet",
        "tickets",
        "models",
        "tensorboard",
        "report.html",
        "driver.lock",
    }
    assert not [name for name in story.after_finish.files if name.endswith(".tmp")]


def test_tables_agree_with_the_study(story: Story) -> None:
    trials = pq.read_table(story.run.trials).to_pylist()
    assert {row["trial"]: row["state"] for row in trials} == {
        number: trial[0] for number, trial in story.after_finish.trials.items()
    }
    rounds = pq.read_table(story.run.rounds).to_pylist()
    assert len(rounds) == sum(len(trial[4]) for trial in story.after_finish.trials.values())
    failed = {row["trial"] for row in trials if row["state"] == "FAIL"}
    assert {row["trial"] for row in rounds if math.isnan(row["proxy_loss"])} == failed


def test_the_record_says_what_the_run_was_made_from(story: Story) -> None:
    record = yaml.safe_load(story.run.config.read_text())
    assert record["command"] == "winnow search tiny.yaml"
    assert record["splits"] == {"train": 48, "validation": 12, "test": 15}
    assert set(record["distilled_sets"]) == {"distilled-2", "subset-2"}
    assert record["versions"]["torch"] == version("torch")


def test_tensorboard_shows_both_phases(story: Story) -> None:
    curves = {path.parent.relative_to(story.run.tensorboard) for path in story.run.tensorboard.rglob("events.*")}
    assert {Path("screening/all"), *(Path(f"screening/trial-{number:05d}") for number in range(7))} <= curves
    retrained = [path for path in curves if path.parts[0] == "retraining"]
    assert len(retrained) == 2
    events = EventAccumulator(str(story.run.tensorboard / retrained[0]))
    events.Reload()
    assert [event.step for event in events.Scalars("validation_accuracy")] == [1, 2]


def test_the_report_names_the_best(story: Story) -> None:
    report = (story.run.path / "report.html").read_text()
    assert "my_models:network" in report


def test_resuming_a_finished_run_changes_nothing_and_is_quick(story: Story) -> None:
    assert story.again.status == 0
    assert story.again.seconds < story.finished.seconds
    unchanged = ("tickets/", "models/", "screening/", "retraining/", "leaderboard.parquet", "rounds.parquet", "trials")
    for part in unchanged:
        assert story.after_again.of(part) == story.after_finish.of(part)
    assert story.after_again.trials == story.after_finish.trials
    assert "Leaderboard" in story.again.out
    assert "Report: " in story.again.out


def test_being_asked_to_terminate_is_like_ctrl_c(story: Story) -> None:
    with pytest.raises(KeyboardInterrupt):
        story.on_terminate(signal.SIGTERM, None)


def test_commands_that_only_look_need_no_ray(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.init", None)
    told = _winnow("report", str(story.run.path), "--json")
    assert told.status == 0
    assert told.out == story.finished.out
    assert "trials finished" in _winnow("status", str(story.run.path)).out
