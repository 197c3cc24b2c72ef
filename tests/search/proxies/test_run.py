"""One evaluation through the command line: killed, looked at, taken up again, compared with one that nobody stopped."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from scipy.stats import kendalltau, spearmanr

from search.proxies.journal import ScoreJournal
from tests.search.comparison.test_run import winnow_here
from tests.search.conftest import Outcome
from tests.search.json_shape import rows_of
from tests.search.processes import Program
from tests.search.proxies.tiny_evaluation import ARCHITECTURES, SPACE, write_evaluation, write_odd_network
from tests.search.test_bad_input import refusal

pytestmark = pytest.mark.ray

ODD = {"name": "odd:linear"}
MODELS = {"models": [SPACE["models"], ODD]}
SCORES = 4 * (ARCHITECTURES + 1)  # two without replicates, one with two
TRAININGS = 3 * (ARCHITECTURES + 1)  # two learning rates and a full one


@dataclass(frozen=True)
class Story:
    """All that happened, in order."""

    folder: Path
    left: list[str]
    scores_then: int
    status_then: dict[str, Any]
    driven: Outcome
    finished: Outcome
    status: dict[str, Any]
    again: Outcome
    ray_starts: int
    alone: Outcome


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    write_odd_network(folder)
    write_evaluation(folder, space=MODELS)
    run = folder / "runs" / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        program = Program("winnow", ["proxy-eval", "tiny.yaml"], folder)
        try:
            program.wait_until(lambda: (run / "run.yaml").exists() and trainings(folder) >= 5)
            driven = winnow_here("resume", "tiny")
            program.signal(signal.SIGKILL)
            left = program.survivors()
        finally:
            program.end()
        scores_then = len(ScoreJournal(run / "scores.jsonl").read())
        status_then = rows_of(winnow_here("status", "tiny", "--json").out)[0]
        finished = winnow_here("resume", "tiny", "--json")
        status = rows_of(winnow_here("status", "tiny", "--json").out)[0]
        ray_starts, init = [], ray.init

        def counted(*arguments: Any, **given: Any) -> Any:
            ray_starts.append(arguments)
            return init(*arguments, **given)

        patch.setattr(ray, "init", counted)
        again = winnow_here("resume", "tiny", "--json")
        starts = len(ray_starts)
        alone = winnow_here("proxy-eval", "tiny.yaml", "run.name=alone", "truth.directory=other", "--json")
        yield Story(folder, left, scores_then, status_then, driven, finished, status, again, starts, alone)


def trainings(folder: Path) -> int:
    path = folder / "truth" / "trainings.parquet"
    return pq.read_metadata(path).num_rows if path.exists() else 0


def table(story: Story, run: str, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(story.folder / "runs" / run / f"{name}.parquet").to_pylist()
    return rows


def test_it_is_said_what_the_splits_are(story: Story) -> None:
    assert re.search(
        r"data +train: \d+ images from train-00000-of-00001\.parquet; validation: \d+ held back from them; "
        r"test: 15 from test-00000-of-00001\.parquet\n",
        story.finished.err,
    )


def test_a_killed_evaluation_leaves_no_process_and_keeps_what_was_done(story: Story) -> None:
    assert story.left == []
    assert 0 < story.scores_then < SCORES
    assert story.status_then["state"] == "stopped"
    assert story.status_then["scores_done"] == f"{story.scores_then} of {SCORES}"


def test_two_drivers_on_one_evaluation_are_one_too_many(story: Story) -> None:
    assert "already being driven by process" in refusal(story.driven)


def test_it_is_taken_on_to_its_end(story: Story) -> None:
    assert story.finished.status == 0, story.finished.err
    assert story.status["state"] == "finished"
    assert story.status["scores_done"] == f"{SCORES} of {SCORES}"
    assert story.status["true_accuracies"] == f"{ARCHITECTURES + 1} of {ARCHITECTURES + 1}"
    assert trainings(story.folder) == TRAININGS


def test_a_finished_one_starts_no_ray_and_says_the_same(story: Story) -> None:
    assert story.ray_starts == 0
    assert story.again.out == story.finished.out


def test_the_interruption_changes_no_value(story: Story) -> None:
    for name, columns in (
        ("scores", ("architecture", "proxy", "replicate", "value", "image_gradients", "flops", "status", "reason")),
        ("truth", ("architecture", "accuracy", "learning_rate", "image_gradients", "flops", "status")),
    ):
        found = [sorted(tuple(map(str, map(row.get, columns))) for row in table(story, run, name))
                 for run in ("tiny", "alone")]  # fmt: skip
        assert found[0] == found[1]
    kept = ("proxy", "spearman", "spearman_low", "kendall", "kendall_high", "image_gradients", "advantage")
    first, second = (
        {row["proxy"]: tuple(row[key] for key in kept) for row in rows_of(outcome.out)}
        for outcome in (story.finished, story.alone)
    )
    assert first == second


def test_a_proxy_that_cannot_handle_an_architecture_is_recorded_and_the_rest_goes_on(story: Story) -> None:
    failed = [row for row in table(story, "tiny", "scores") if row["status"] == "failed"]
    assert [(row["proxy"], row["architecture"], row["value"]) for row in failed] == [("nwot", ODD["name"], None)]
    answers = {row["proxy"]: row for row in rows_of(story.finished.out)}
    assert {name: (row["architectures"], row["failed"]) for name, row in answers.items()} == {
        "parameters": (13, 0), "nwot": (12, 1), "real@2": (13, 0), "real@4": (13, 0), "both": (12, 1)
    }  # fmt: skip
    page = (story.folder / "runs" / "tiny" / "results.md").read_text()
    assert ODD["name"] in page
    assert failed[0]["reason"] in page


def test_the_answers_are_those_of_scipy_on_the_tables(story: Story) -> None:
    truth = {row["architecture"]: row["accuracy"] for row in table(story, "tiny", "truth")}
    values: dict[str, dict[str, list[float]]] = {}
    for row in table(story, "tiny", "scores"):
        if row["value"] is not None:
            values.setdefault(row["proxy"], {}).setdefault(row["architecture"], []).append(row["value"])
    answers = {row["proxy"]: row for row in rows_of(story.finished.out)}
    for name, found in values.items():
        pairs = np.array([(np.mean(several), truth[architecture]) for architecture, several in found.items()])
        assert answers[name]["spearman"] == pytest.approx(spearmanr(pairs).statistic)
        assert answers[name]["kendall"] == pytest.approx(kendalltau(*pairs.T).statistic)
        assert answers[name]["spearman_low"] <= answers[name]["spearman"] <= answers[name]["spearman_high"]


def test_costs_are_counted(story: Story) -> None:
    answers = {row["proxy"]: row for row in rows_of(story.finished.out)}
    assert answers["real@4"]["image_gradients"] == 2 * 4 * 16  # two replicates
    assert answers["real@2"]["image_gradients"] == 2 * 2 * 16
    assert answers["parameters"]["image_gradients"] == 0
    assert answers["both"]["image_gradients"] == answers["nwot"]["image_gradients"] + 2 * 4 * 16
    assert all(row["seconds"] >= 0 for row in answers.values())
    truth = table(story, "tiny", "truth")
    assert {row["image_gradients"] for row in truth} == {2 * 16 * 2 + 16 * 3}  # 48 images; half of three steps is two


def test_it_leaves_plots(story: Story) -> None:
    figures = {path.name for path in (story.folder / "runs" / "tiny" / "figures").iterdir()}
    assert {"rank-correlation.svg", "budget.svg", "scores-truth.svg"} <= figures


def test_another_evaluation_does_not_pay_for_the_truth_again(
    story: Story, winnow: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(story.folder)
    before = (story.folder / "truth" / "trainings.parquet").stat()
    other = ["run.name=other", "proxies={synflow: {}}", "combinations={}"]
    outcome = winnow("proxy-eval", "tiny.yaml", *other)
    assert outcome.status == 0, outcome.err
    assert "synflow" in outcome.out
    assert (story.folder / "truth" / "trainings.parquet").stat() == before
    table_of_truth = story.folder / "runs" / "tiny" / "truth.parquet"
    judged = winnow(
        "proxy-eval", "tiny.yaml", "run.name=judged", "proxies={flops: {}}", "combinations={}",
        f"truth={{table: {table_of_truth}, architecture: architecture}}", "--json",
    )  # fmt: skip
    assert judged.status == 0, judged.err
    (row,) = rows_of(judged.out)
    assert row["architectures"] == ARCHITECTURES + 1
    table_of_truth.write_bytes((story.folder / "runs" / "alone" / "scores.parquet").read_bytes())
    assert "truth" in refusal(winnow("resume", "judged"))
