"""A search whose tickets are retrained longer, and again by another recipe, killed in between."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dp_core.files import digest_of_file
from search.cli.main import main
from search.pipeline.retraining_requests import read_requests
from search.runs.directory import RunDirectory, model_name
from search.study.storage.store import read_trials
from search.study.trials import STUDY
from tests.search.json_shape import of_table
from tests.search.processes import Program
from tests.search.tiny import write_config
from trainables.retraining.trained_model import TrainedModel

pytestmark = pytest.mark.ray

SETTINGS: dict[str, Any] = {
    "search": {"trials": 3, "early_stopping": {"method": "none"}},
    "promote": {"top": 1, "audit": 1},
    "retrain": {"epochs": 1, "recipe": {"precision": "float32"}},
}


@dataclass(frozen=True)
class Told:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one sentence of a refused command."""
        assert self.status == 2
        assert self.out == ""
        (line,) = self.err.splitlines()
        return line.removeprefix("winnow: ")


def command(*arguments: object) -> Told:
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["winnow", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Told(status, out.getvalue(), err.getvalue())


def digests(run: RunDirectory) -> dict[str, str]:
    """Return the digests of all files of models and tickets."""
    folders = [*run.models(), *(run.ticket(number) for number in run.tickets())]
    return {str(path): digest_of_file(path) for folder in folders for path in folder.iterdir()}


@dataclass(frozen=True)
class Story:
    """All that happened to the run, in order, and its models and tickets after each step."""

    run: RunDirectory
    refused: dict[str, Told]
    first: list[dict[str, Any]]
    longer: Told
    asked_for: int
    steps: list[dict[str, str]]
    resumed: Told
    status: dict[str, Any]
    trials: list[list[Any]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("retraining")
    write_config(folder, **SETTINGS)
    run = RunDirectory(folder / "runs" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        first = json.loads(command("search", "tiny.yaml", "--json").out)
        trials, steps = [read_trials(run.journal, None, STUDY)], [digests(run)]
        longer = command("resume", "tiny", "retrain.epochs=3", "--json")
        steps.append(digests(run))
        (unranked,) = {0, 1, 2} - {row["trial"] for row in first}
        refused = {
            "unknown": command("retrain", "tiny", "--trial", 99),
            "elsewhere": command("retrain", "tiny", "search.trials=9"),
            "short": command("retrain", "tiny", "epochs=9"),
            "misspelt": command("retrain", "tiny", "retrain.epoch=9"),
            "nowhere": command("retrain", "tinny"),
        }
        with run.locked():
            refused["driven"] = command("retrain", "tiny", "retrain.epochs=9")
        arguments = ["retrain", "runs/tiny", "--trial", str(unranked), "retrain.seeds=3", "retrain.epochs=12"]
        program = Program("winnow", arguments, folder)
        try:
            program.wait_until(lambda: any("12epochs" in path.name for path in run.models()))
            program.signal(signal.SIGKILL)
        finally:
            program.end()
        steps.append(digests(run))
        assert len(read_requests(run)) == 1
        resumed = command("resume", "tiny", "--json")
        steps.append(digests(run))
        trials.append(read_trials(run.journal, None, STUDY))
        yield Story(
            run,
            refused,
            first,
            longer,
            unranked,
            steps,
            resumed,
            json.loads(command("status", "tiny", "--json").out)[0],
            trials,
        )


def test_resuming_with_more_epochs_retrains_from_the_tickets(story: Story) -> None:
    assert story.longer.status == 0
    rows = json.loads(story.longer.out)
    assert {(row["trial"], row["epochs"]) for row in rows} == {
        (row["trial"], epochs) for row in story.first for epochs in (1, 3)
    }
    assert len([row for row in rows if row["rank"] is not None]) == len(story.first) == 2
    histories = []
    for row in rows:
        model = TrainedModel.load(story.run.model(model_name(row["trial"], 0, row["recipe"])))
        histories.append(model.results["history"])
        assert len(histories[-1]) == row["epochs"] == model.results["recipe"]["epochs"]
    # One whole schedule: a training that went on from the end of another would have fallen twice.
    rates = [epoch["learning_rate"] for epoch in max(histories, key=len)]
    assert sorted(rates, reverse=True) == rates
    assert rates[-1] < 0.1 * rates[0]


def test_no_file_of_a_ticket_or_an_earlier_model_is_touched(story: Story) -> None:
    for earlier, later in zip(story.steps, story.steps[1:], strict=False):
        assert earlier.items() < later.items()
    assert story.trials[0] == story.trials[1]


def test_a_killed_retraining_is_gone_on_with_by_resume(story: Story) -> None:
    assert story.resumed.status == 0
    (row,) = [row for row in json.loads(story.resumed.out) if row["trial"] == story.asked_for]
    assert (row["epochs"], row["seeds"], row["audited"]) == (12, 3, False)
    assert row["rank"] is not None
    assert not story.run.requests.exists()
    assert pq.read_table(story.run.leaderboard).to_pylist() == of_table(json.loads(story.resumed.out))


def test_the_status_counts_what_the_config_asks_for(story: Story) -> None:
    expected = {"state": "finished", "models_retrained": 2, "models_wanted": 2, "other_models": 5, "came_to_nothing": 0}
    assert story.status.items() >= expected.items()
    assert story.status["models"] == [str(path) for path in story.run.models()]


def test_curves_and_report_follow(story: Story) -> None:
    shown = {path.parent.name for path in (story.run.tensorboard / "retraining").rglob("events.*")}
    assert shown == {path.name for path in story.run.models()}
    assert "Retrained by several recipes" in (story.run.path / "report.html").read_text(encoding="utf-8")


def test_mistakes_are_one_sentence(story: Story) -> None:
    refused = {name: told.refusal for name, told in story.refused.items()}
    assert "has no trial 99: its trials are 0 to 2." in refused["unknown"]
    for name in ("elsewhere", "short"):
        assert "is none of 'retrain': winnow retrain takes keys such as retrain.epochs" in refused[name]
    assert "Did you mean 'epochs'?" in refused["misspelt"]
    assert "There is no run 'tinny'" in refused["nowhere"]
    assert "is already being driven by process" in refused["driven"]


def test_a_trial_without_a_ticket_and_a_run_without_any_are_named(story: Story, tmp_path: Path) -> None:
    for number in story.run.tickets():
        story.run.ticket(number).rename(tmp_path / str(number))
        told = command("retrain", story.run.path, "--trial", number).refusal
        assert ("has no ticket: it is COMPLETE" if story.run.tickets() else "has no tickets yet") in told
