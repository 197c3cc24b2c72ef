"""One comparison through the command line: killed, looked at, taken up again, and held against one never stopped."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
from ray.exceptions import RayTaskError

from dp_core.errors import UserError
from search.cli.main import main
from search.comparison.config import ComparisonConfig
from search.comparison.preparation import prepare_comparison
from search.comparison.run import laboratory, write_outputs
from search.config.loader import load_config
from search.kinds.comparison import Comparison
from search.runs import jobs, life_cycle
from search.runs.directory import RunDirectory
from search.runs.distilled_sets import make_sets
from search.runs.progress import Progress
from search.runs.record import new_record, write_record
from tests.dp_core.small import same
from tests.search.comparison.tiny_comparison import comparison_config, write_comparison
from tests.search.conftest import Outcome
from tests.search.json_shape import of_table, rows_of, rows_of_run
from tests.search.processes import Program
from tests.trainables.laboratory.comparisons import contents, timeless
from trainables.laboratory import Cell, ComparisonFiles, Job, read_result, run_job
from trainables.laboratory.files import write_result

pytestmark = pytest.mark.ray

RANDOM = {"kind": "at_initialisation", "criterion": "random"}
SETTINGS: dict[str, Any] = {
    "methods": {
        "dense": {"kind": "dense"},
        "imp": {"source": "real", "epochs": 1, "learning_rate": [0.02, 0.01], "rewind_step": 1},
        "distilled": {"source": "distilled", "ipc": 2, "steps": [2, 4]},
        "combined": {"source": "real", "epochs": 1, "start_from": "distilled-2", "start_sparsity": 0.5},
        "random": RANDOM,
        "shuffled": {"kind": "shuffled", "of": "distilled-2"},
    },
    "retrain": {"learning_rate": [0.02, 0.01], "recipe": {"learning_rate": None}},
    "stability": {"barrier_at": [0.0, 0.5], "points": 3},
}
# A ticket of the dense network, two of each other method but `combined`, which begins above the first sparsity.
TICKETS = [
    ("dense", 0.0),
    *((name, target) for name in ("imp", "distilled-2", "distilled-4") for target in (0.5, 0.8)),
    ("combined", 0.8),
    *((name, target) for name in ("random", "shuffled") for target in (0.5, 0.8)),
]
JOBS = 2 + 2 * (7 + len(TICKETS))  # two learning rates; for each seed seven searches and the trainings


@dataclass(frozen=True)
class Story:
    """All that happened to the comparison, in order; and what it would have found by itself."""

    run: RunDirectory
    killed: int
    left: tuple[str, ...]
    results_then: int
    never_then: int
    status_then: dict[str, Any]
    second: Outcome
    finished: Outcome
    status: dict[str, Any]
    report: Outcome
    again: Outcome
    ray_starts: int
    alone: Path
    rows_alone: list[dict[str, Any]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    write_comparison(folder, **SETTINGS)
    run = RunDirectory(folder / "runs" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        program = Program("winnow", ["prune", "comparison.yaml"], folder)
        try:
            program.wait_until(lambda: len(trainings(run)) >= 3)
            killed = program.signal(signal.SIGKILL)
            left = tuple(program.survivors())
        finally:
            program.end()
        results_then, never_then = len(trainings(run)), never_found(run)
        status_then = rows_of_run(winnow_here("status", "tiny", "--json").out, run.path)[0]
        second = winnow_here("prune", "comparison.yaml")
        finished = winnow_here("resume", "tiny", "--json")
        status = rows_of_run(winnow_here("status", "tiny", "--json").out, run.path)[0]
        ray_starts, init = [], ray.init

        def counted(*arguments: Any, **given: Any) -> Any:
            ray_starts.append(arguments)
            return init(*arguments, **given)

        patch.setattr(ray, "init", counted)
        report, again = winnow_here("report", "tiny", "--json"), winnow_here("resume", "tiny")
        alone = folder / "alone"
        rows_alone = by_itself(folder, alone)
        yield Story(
            run=run,
            killed=killed,
            left=left,
            results_then=results_then,
            never_then=never_then,
            status_then=status_then,
            second=second,
            finished=finished,
            status=status,
            report=report,
            again=again,
            ray_starts=len(ray_starts),
            alone=alone,
            rows_alone=rows_alone,
        )


def trainings(run: RunDirectory) -> list[Path]:
    return list((run.path / "trainings").rglob("*.json"))


def never_found(run: RunDirectory) -> int:
    """Return how many tickets the searches that have ended did not find."""
    missing = 0
    for path in (run.path / "searches").rglob("*.json"):
        targets = [target for name, target in TICKETS if name == path.stem]
        missing += len(targets) - len(json.loads(path.read_text())["tickets"])
    return missing


def winnow_here(*arguments: str) -> Outcome:
    """Run a command in this process, which has imported torch and Ray already."""
    status, out, err = 0, io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["winnow", *arguments])
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Outcome(status, out.getvalue(), err.getvalue())


def by_itself(folder: Path, alone: Path) -> list[dict[str, Any]]:
    """Do every job of the same comparison once, in this process; return its rows."""
    prepared = prepare_comparison(
        load_config(ComparisonConfig, folder / "comparison.yaml"), "comparison.yaml", local=False
    )
    distilled = {"distilled-2": (prepared.distiller, 2)}
    folder = prepared.config.distill.directory
    sets = make_sets(distilled, prepared.splits, folder, 0, RunDirectory(alone), Progress(quiet=True))
    lab, plan = laboratory(RunDirectory(alone), prepared, sets), prepared.plan(alone)
    assert len(plan.jobs) == JOBS
    while (job := plan.next()) is not None:
        run_job(lab, job)
        plan.drop_impossible()
    return write_outputs(RunDirectory(alone), prepared, figures=False)


def test_it_is_said_what_the_splits_are(story: Story) -> None:
    assert re.search(
        r"data +train: \d+ images from train-00000-of-00001\.parquet; validation: \d+ held back from them; "
        r"test: 15 from test-00000-of-00001\.parquet\n",
        story.finished.err,
    )


def test_a_killed_driver_takes_its_ray_with_it_and_leaves_whole_results(story: Story) -> None:
    assert (story.killed, story.left) == (-signal.SIGKILL, ())
    assert 3 <= story.results_then < 2 * len(TICKETS)


def test_a_killed_study_is_known_to_be_stopped(story: Story) -> None:
    status = story.status_then
    assert status["state"] == "stopped"
    assert status["learning_rates_done"] == "2 of 2"
    assert status["trainings_done"].endswith(f" of {2 * len(TICKETS)}")
    # A training whose ticket was never found has nothing left to be done.
    assert int(status["trainings_done"].split()[0]) == story.results_then + story.never_then
    assert Path(status["run"]) == story.run.path.resolve()


def test_a_second_study_of_the_name_is_refused(story: Story) -> None:
    assert (story.second.status, story.second.out) == (2, "")
    assert "The run tiny exists in" in story.second.err
    assert "winnow resume" in story.second.err
    assert len(story.second.err.splitlines()) == 1


def test_what_is_taken_up_again_ends(story: Story) -> None:
    assert story.finished.status == 0
    assert story.status["state"] == "finished"
    assert story.status["searches_done"] == "14 of 14"
    assert story.status["trainings_done"] == f"{2 * len(TICKETS)} of {2 * len(TICKETS)}"


def test_there_is_a_row_for_every_ticket(story: Story) -> None:
    rows = rows_of_run(story.finished.out, story.run.path)
    found = [(row["seed"], row["method"], row["target_sparsity"]) for row in rows]
    assert sorted(found) == sorted((seed, *ticket) for seed in (0, 1) for ticket in TICKETS)
    for row in rows:
        accurate = row["test_accuracy"] is not None and (row["test_accuracy"] * 15) % 1 == pytest.approx(0, abs=1e-9)
        assert accurate or row["status"] != "finished"
        if row["status"] == "finished":
            assert row["sparsity"] == pytest.approx({0.0: 0, 0.5: 0.5, 0.8: 0.8}[row["target_sparsity"]])
            assert (row["error_barrier"] is not None) == (row["target_sparsity"] in (0.0, 0.5))


def test_rows_and_tickets_are_those_of_a_study_that_nobody_stopped(story: Story) -> None:
    rows = rows_of_run(story.finished.out, story.run.path)
    assert timeless(of_table(rows)) == timeless(story.rows_alone)
    stopped, alone = contents(story.run.path), contents(story.alone)
    results = [name for name in alone if name.split("/")[0] in ("searches", "trainings", "learning_rates", "tickets")]
    assert len(results) <= JOBS + 2 * len(TICKETS)  # fewer where a search collapsed
    for name in results:
        assert same(stopped[name], alone[name]), name


def test_tables_and_plots_agree_with_the_rows(story: Story) -> None:
    rows = rows_of_run(story.finished.out, story.run.path)
    assert pq.read_table(story.run.path / "results.parquet").to_pylist() == of_table(rows)
    rounds = pq.read_table(story.run.path / "rounds.parquet").to_pylist()
    assert {row["method"] for row in rounds} == {"imp", "distilled-2", "distilled-4", "combined"}
    text = (story.run.path / "results.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("#")][:3] == [
        "# Results of tiny",
        "## All methods",
        "## How to read tables and plots",
    ]
    for name, _ in TICKETS:
        assert name in text
    figures = [path for path in (story.run.path / "figures").iterdir() if path.is_file()]
    assert figures
    assert all(path.stat().st_size > 1000 for path in figures)


def test_json_names_the_ticket_of_every_row(story: Story) -> None:
    rows = rows_of_run(story.finished.out, story.run.path)
    assert any(row["models"] for row in rows)
    for row in rows:
        assert all((Path(ticket) / "card.json").exists() for ticket in row["models"])


def test_what_distilled_sets_cost_is_in_the_rows(story: Story) -> None:
    rows = rows_of_run(story.finished.out, story.run.path)
    spent = {row["method"]: (row["set_image_gradients"], row["set_seconds"]) for row in rows}
    assert {name for name, (gradients, _) in spent.items() if gradients == 0} == {  # random images take no gradients
        "distilled-2",
        "distilled-4",
        "combined",
        "shuffled",
    }
    [set_of_all] = {seconds for gradients, seconds in spent.values() if gradients is not None}
    assert set_of_all >= 0


def test_seeds_share_what_they_should(story: Story) -> None:
    rows = rows_of_run(story.finished.out, story.run.path)
    assert len({row["learning_rate"] for row in rows if row["method"] == "imp"}) == 1  # chosen once for the network
    dense = [row for row in rows if row["method"] == "dense"]
    assert dense[0]["test_loss"] != dense[1]["test_loss"]


def test_a_report_writes_the_same_rows_again_without_ray(story: Story) -> None:
    assert story.report.status == 0
    assert rows_of_run(story.report.out, story.run.path) == rows_of_run(story.finished.out, story.run.path)


def test_taking_up_a_finished_study_only_shows_it(story: Story) -> None:
    assert story.again.status == 0
    assert "results.md" in story.again.out
    assert "distilled-4" in story.again.out


def test_a_finished_study_needs_no_ray(story: Story) -> None:
    assert story.ray_starts == 0


def test_nothing_temporary_is_left(story: Story) -> None:
    assert [path for path in story.run.path.rglob("*.tmp") if "unfinished" not in path.parts] == []
    assert [
        path for path in (story.run.path / "unfinished").rglob("state.pt") if not path.parent.name.startswith(".")
    ] == []


def begin(config: ComparisonConfig, address: str) -> None:
    life_cycle.start(
        Comparison(), config, "comparison.yaml", ["winnow"], life_cycle.Driver(address, Progress(quiet=True))
    )


ENDED = {"status": "finished", "reason": None, "learning_rate": None}


class Immediately:
    """Ray's part in a comparison, done at once in this process: each job when it is waited for, the youngest first."""

    def __init__(self) -> None:
        self.started: list[Job] = []
        self.most = 0

    def put(self, value: Any) -> Any:
        return value

    def remote(self, function: Any) -> Any:
        def start(lab: Any, job: Job) -> Job:
            self.started.append(job)
            return job

        return SimpleNamespace(options=lambda **settings: SimpleNamespace(remote=start))

    def wait(self, running: list[Job], num_returns: int) -> tuple[list[Job], list[Job]]:
        self.most = max(self.most, len(running))
        return running[-1:], running[:-1]

    def get(self, job: Job) -> None:
        if job.cell.method == "imp":
            raise RayTaskError("run_job", "", ZeroDivisionError("by\nnothing"))
        write_result(job.result(self.files), {**ENDED, "rounds": [], "tickets": []})

    files: ComparisonFiles


def test_a_job_that_fails_is_told_when_the_others_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {"dense": {"kind": "dense"}, "imp": {"source": "real", "steps": 2}, "random": RANDOM}
    write_comparison(tmp_path)
    fake = Immediately()
    fake.files = ComparisonFiles(tmp_path / "runs" / "tiny")
    monkeypatch.setattr(jobs, "ray", fake)
    monkeypatch.setattr("search.runs.ray_session.ray_session", lambda address, cpus: contextlib.nullcontext())
    config = comparison_config(tmp_path, methods=methods, resources={"concurrency": 2})
    with pytest.raises(
        UserError, match=r"^The job 'find tiny/seed0/imp' failed: ZeroDivisionError: by nothing \(and 1"
    ):
        begin(config, "somewhere:1")
    assert fake.most == 2
    assert [(job.cell.seed, job.cell.method) for job in fake.started] == [
        (seed, method) for seed in range(2) for method in ("dense", "imp", "random")
    ]
    assert read_result(fake.files.search(Cell("tiny", 0, "dense"))) is not None
    assert (tmp_path / "runs" / "tiny" / "run.yaml").exists()


def test_a_study_of_which_nothing_is_finished_is_reported_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_comparison(tmp_path)
    run = RunDirectory(tmp_path / "runs" / "tiny")
    prepared = prepare_comparison(comparison_config(tmp_path), "comparison.yaml", local=False)
    run.path.mkdir(parents=True)
    write_record(run, new_record(["winnow"], prepared.config, prepared.splits))
    monkeypatch.chdir(tmp_path)
    report = winnow_here("report", "tiny")
    assert (report.status, report.out.splitlines()[0].strip()) == (0, "Nothing of the comparison is finished yet.")
    assert (run.path / "results.md").read_text() == "# Results of tiny\n\nNothing of the comparison is finished yet.\n"
    assert rows_of(winnow_here("report", "tiny", "--json").out) == []


def test_a_study_whose_cluster_does_not_answer_leaves_nothing_behind(tmp_path: Path) -> None:
    write_comparison(tmp_path)
    with pytest.raises(UserError, match="No Ray cluster answers"):
        begin(comparison_config(tmp_path), "127.0.0.1:1")
    assert not (tmp_path / "runs" / "tiny").exists()


def test_a_folder_that_jobs_do_not_see_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_comparison(tmp_path)
    fake = Immediately()
    monkeypatch.setattr(fake, "get", lambda job: None)  # done, on another machine's disk
    monkeypatch.setattr(jobs, "ray", fake)
    monkeypatch.setattr("search.runs.ray_session.ray_session", lambda address, cpus: contextlib.nullcontext())
    with pytest.raises(UserError, match=r"run\.directory must be a folder that all machines see"):
        begin(comparison_config(tmp_path), "somewhere:1")
