from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_core.errors import UserError
from search.report import facts, formats, write_report
from search.report.statistics import rank_correlation, spearman
from search.tables import write_leaderboard, write_rounds, write_trials

HOSTILE = """</script><img src=x onerror="alert(1)"><b>&amp;{{ 7 * 7 }}'"""


def round_row(trial: int, number: int, accuracy: float) -> dict[str, Any]:
    return {
        "trial": trial,
        "round": number,
        "score": accuracy,
        "score_sem": None,
        "proxy_accuracy": accuracy,
        "proxy_accuracy_sem": None,
        "proxy_loss": 1.0,
        "replicates": 1,
        "sparsity": 1 - 0.5**number,
        "density": 0.5**number,
        "parameters_left": 1000,
        "flops_dense": 4000,
        "flops_remaining": 2000,
        "image_gradients": 1500 * number,
        "seconds": 2.5 * number,
    }


def trial_row(trial: int, state: str, accuracy: float, **changes: object) -> dict[str, Any]:
    last = {name: value for name, value in round_row(trial, 2, accuracy).items() if name != "round"}
    row = {"state": state, "reason": None, "rounds": 2, "source": "distilled", "ipc": 10, "architecture": "convnet"}
    return {**last, **row, **changes}


def model_row(rank: int, proxy: float, test: float, **changes: object) -> dict[str, Any]:
    row = {
        "rank": rank,
        "trial": rank + 10,
        "test_accuracy": test,
        "test_accuracy_std": 0.005,
        "seeds": 3,
        "validation_accuracy": 0.6,
        "proxy_accuracy": proxy,
        "proxy_accuracy_sem": None,
        "replicates": 1,
        "sparsity": 0.9,
        "parameters_left": 12345,
        "flops_remaining": 2_500_000,
        "architecture": "convnet depth=3",
        "source": "distilled",
        "ipc": 10,
        "screening_seconds": 8.25,
        "retraining_seconds": 84.0,
    }
    return {**row, **changes}


def no_rounds(trial: int, state: str) -> dict[str, Any]:
    empty = dict.fromkeys(name for name in round_row(0, 1, 0.0) if name not in ("trial", "round"))
    return trial_row(trial, state, 0.0, **empty, rounds=0)


class Page(HTMLParser):
    """What a browser would make of the page: its tags, its text outside scripts, and the figures' data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.figures: dict[str, Any] = {}
        self._inside: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append((tag, dict(attrs).get("id")))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words = " ".join(f"{self.words} {data}".split())
        elif self._inside[-1][1] is not None:
            self.figures[str(self._inside[-1][1])] = json.loads(data)


def make_run(
    directory: Path,
    rounds: Sequence[dict[str, Any]] | None = None,
    trials: Sequence[dict[str, Any]] | None = None,
    leaderboard: Sequence[dict[str, Any]] | None = None,
    record: object = None,
) -> Page:
    directory.mkdir(exist_ok=True)
    record = {"command": "winnow search x.yaml", "seed": 7} if record is None else record
    (directory / "run.yaml").write_text(yaml.safe_dump(record))
    if rounds is not None:
        write_rounds(directory / "rounds.parquet", rounds)
    if trials is not None:
        write_trials(directory / "trials.parquet", trials)
    if leaderboard is not None:
        write_leaderboard(directory / "leaderboard.parquet", leaderboard)
    path = write_report(directory)
    assert path == directory / "report.html"
    return Page(path.read_text(encoding="utf-8"))


class TestStatistics:
    def test_spearman_by_hand(self) -> None:
        # d = 1, -1, -1, 1, 0, so rho = 1 - 6 * 4 / (5 * 24).
        assert spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)

    def test_spearman_by_hand_with_ties(self) -> None:
        # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, norms 4.5 and 5.
        assert spearman([1, 2, 2, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))

    def test_spearman_of_a_constant_is_undefined(self) -> None:
        assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
    def test_spearman_agrees_with_scipy(self, pairs: list[tuple[int, int]]) -> None:
        first, second = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
        if len(set(first)) > 1 and len(set(second)) > 1:
            assert spearman(first, second) == pytest.approx(scipy.stats.spearmanr(first, second).statistic)

    def test_the_interval_is_that_of_all_resamples(self) -> None:
        first, second = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5])
        every = (list(drawn) for drawn in itertools.product(range(5), repeat=5))
        values = np.array([spearman(first[drawn].tolist(), second[drawn].tolist()) for drawn in every])
        expected = np.nanquantile(values, [0.1, 0.9])
        found = rank_correlation(first.tolist(), second.tolist(), seed=0, confidence=0.8, resamples=40_000)
        assert found is not None
        assert found.rho == pytest.approx(0.8)
        assert found.pairs == 5
        assert [found.low, found.high] == pytest.approx(expected, abs=0.02)

    def test_a_perfect_order_has_a_point_for_an_interval(self) -> None:
        found = rank_correlation([1, 2, 3, 4, 5, 6], [0.1, 0.2, 0.4, 0.8, 1.6, 3.2], seed=1)
        assert found is not None
        assert (found.rho, found.low, found.high) == pytest.approx((1, 1, 1))

    def test_the_same_seed_gives_the_same_interval(self) -> None:
        first, second = list(range(8)), [3, 1, 0, 2, 7, 5, 4, 6]
        assert rank_correlation(first, second, seed=3) == rank_correlation(first, second, seed=3)
        assert rank_correlation(first, second, seed=3) != rank_correlation(first, second, seed=4)

    def test_four_pairs_say_nothing(self) -> None:
        assert rank_correlation([1, 2, 3, 4], [1, 2, 3, 4], seed=0) is None
        assert rank_correlation([1, 2, 3, 4, math.nan], [1, 2, 3, 4, 5], seed=0) is None

    def test_a_constant_score_says_nothing(self) -> None:
        assert rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], seed=0) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.25, "8.2 s"), (9.96, "10.0 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (84, "1 min 24 s"), (3725, "1 h 2 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1_871_232, "1.87 M"), (3e9, "3 G"), (None, "-"), (math.nan, "-")]
)
def test_magnitudes(number: float | None, text: str) -> None:
    assert formats.magnitude(number) == text


class TestTrust:
    def test_five_models_in_order(self) -> None:
        rows = [model_row(n, proxy=0.5 - 0.01 * n, test=0.7 - 0.02 * n) for n in range(1, 6)]
        trust = facts.trust(rows)
        assert trust.correlation is not None
        assert trust.correlation.rho == pytest.approx(1)
        assert trust.verdict.startswith("Within limits, yes")
        assert "picked trial 11, the best of those retrained" in trust.details[1]

    def test_reversed_models(self) -> None:
        trust = facts.trust([model_row(n, proxy=0.01 * n, test=0.7 - 0.02 * n) for n in range(1, 7)])
        assert trust.verdict.startswith("No: ")
        # The highest proxy is that of the last of six, 5 steps of 2 points below the best.
        assert "picked trial 16, 10.00 points of test accuracy below" in trust.details[1]

    def test_no_relation(self) -> None:
        proxies = [0.3, 0.5, 0.1, 0.4, 0.2]
        trust = facts.trust([model_row(n, proxy=p, test=0.7 - 0.02 * n) for n, p in enumerate(proxies)])
        assert trust.verdict.startswith("Not shown")

    @pytest.mark.parametrize(("models", "words"), [(4, "only 4 models were"), (1, "only 1 model was")])
    def test_too_few(self, models: int, words: str) -> None:
        trust = facts.trust([model_row(n, proxy=0.1 * n, test=0.1 * n) for n in range(1, models + 1)])
        assert trust.correlation is None
        assert trust.verdict.startswith("Too few to say")
        assert words in trust.verdict


def test_cost_is_summed_by_source() -> None:
    rows = [
        trial_row(0, "COMPLETE", 0.4, source="real", seconds=10.0, image_gradients=100, proxy_accuracy_sem=0.01),
        trial_row(1, "PRUNED", 0.9, source="real", seconds=2.0, image_gradients=20),
        trial_row(2, "COMPLETE", 0.5, source="distilled", seconds=3.0, image_gradients=30),
        no_rounds(3, "FAIL"),
    ]
    assert facts.cost_by_source(rows) == [
        facts.SourceCost("real", 2, 12.0, 120, 6.0, 0.4, 0.01),
        facts.SourceCost("distilled", 1, 3.0, 30, 3.0, 0.5, None),
    ]


def test_a_finished_run(tmp_path: Path) -> None:
    trials = [
        trial_row(0, "COMPLETE", 0.40),
        trial_row(1, "PRUNED", 0.2, reason="among the worst half at round 1"),
        trial_row(2, "FAIL", 0.1, reason="layer collapse", source="real"),
    ]
    rounds = [round_row(0, 2, 0.40), round_row(0, 1, 0.45), round_row(1, 1, 0.2), round_row(2, 1, 0.1)]
    page = make_run(tmp_path / "quick", rounds, trials, [model_row(1, proxy=0.4, test=0.6123, trial=0)])
    assert "The best model is trial 0, convnet depth=3: 61.23 ± 0.50 % test accuracy" in page.words
    assert "at 90.0 % sparsity, with 12,345 parameters left" in page.words
    assert "took 8.2 s; retraining it on real images took 1 min 24 s" in page.words
    assert "Completed 1 reached" in page.words
    assert "Stopped early 1 by" in page.words
    assert "Failed 1 reasons" in page.words
    assert "Screening 15 s all trials, 9 k image-gradients" in page.words
    assert page.words.index("failed layer collapse") < page.words.index("stopped early among the worst half")
    assert "only 1 model was retrained" in page.words
    assert "in progress" not in page.words

    distilled, _, real, _ = page.figures["figure-sparsity"]["data"]
    assert distilled["x"] == [75, 75]
    assert distilled["y"] == [40, 20]
    assert distilled["marker"]["symbol"] == ["circle", "x-thin-open"]
    assert real["y"] == [10]
    assert distilled["marker"]["color"] != real["marker"]["color"]
    line = page.figures["figure-rounds"]["data"][0]
    assert (line["x"], line["y"]) == ([1, 2, None, 1, None], [45, 40, None, 20, None])
    assert page.figures["figure-trust"]["data"][0]["y"] == [pytest.approx(61.23)]


def test_a_proxy_that_is_a_mean_over_replicates_is_told_with_its_error(tmp_path: Path) -> None:
    replicated = {"replicates": 4, "proxy_accuracy_sem": 0.0082, "score_sem": 0.0082}
    trials = [
        trial_row(0, "COMPLETE", 0.31, **replicated),
        trial_row(1, "PRUNED", 0.2, reason="others were better", **replicated),
        no_rounds(2, "WAITING"),
    ]
    rounds = [{**round_row(0, 1, 0.29), **replicated}]
    model = model_row(1, proxy=0.31, test=0.6, trial=0, replicates=4, proxy_accuracy_sem=0.0082)
    page = make_run(tmp_path / "quick", rounds, trials, [model])
    assert page.words.count("31.0 ± 0.8") == 2  # the leaderboard and the best of its source
    assert "others were better 2 20.0 ± 0.8" in page.words
    assert "mean ± standard error over 4 replicates" in page.words
    assert "horizontal ones ± one standard error over replicates" in page.words
    assert page.figures["figure-trust"]["data"][0]["error_x"]["array"] == [pytest.approx(0.82)]
    for figure in ("trust", "sparsity", "rounds"):
        assert "over 4 replicates" in page.figures[f"figure-{figure}"]["data"][0]["text"][0]
    unfinished = make_run(tmp_path / "going", rounds, trials[::2])
    assert "The highest proxy accuracy so far is 31.0 ± 0.8 %, by trial 0" in unfinished.words


def test_a_single_replicate_is_not_worth_a_word(tmp_path: Path) -> None:
    trial, model = trial_row(0, "COMPLETE", 0.4), model_row(1, 0.4, 0.6)
    page = make_run(tmp_path / "quick", [round_row(0, 1, 0.4)], [trial], [model])
    assert "replicate" not in page.words
    assert "40.0 ±" not in page.words


def test_provenance_is_told(tmp_path: Path) -> None:
    record = {
        "command": "winnow search quick.yaml run.seed=7",
        "run": {"name": "quick", "nested": {"deep": [1, 2]}},
        "data": {"train": {"digest": "ab12"}},
        "versions": {"torch": "2.14.1"},
        "seed": 7,
    }
    page = make_run(tmp_path / "quick", record=record)
    for words in ("winnow search quick.yaml run.seed=7", "seed 7", "nested.deep [1, 2]", "train.digest ab12"):
        assert words in page.words
    assert "versions torch 2.14.1" in page.words


@pytest.mark.parametrize("empty", [None, []])
def test_a_run_that_has_only_begun(empty: list[dict[str, Any]] | None, tmp_path: Path) -> None:
    page = make_run(tmp_path / "new", empty, empty, empty)
    assert "in progress" in page.words
    assert "No trial has finished and no model has been retrained yet." in page.words
    assert "Nothing can be said yet: no model has been retrained." in page.words
    assert page.figures == {}


def test_a_run_in_progress(tmp_path: Path) -> None:
    trials = [trial_row(0, "COMPLETE", 0.3), trial_row(1, "RUNNING", 0.9), no_rounds(2, "WAITING")]
    page = make_run(tmp_path / "going", [round_row(0, 1, 0.3)], trials)
    assert "in progress" in page.words
    assert "The highest proxy accuracy so far is 30.0 %, by trial 0" in page.words
    assert "Trials 3 2 unfinished" in page.words


def test_scores_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    trials = [trial_row(0, "FAIL", math.nan, reason="the loss is not a number"), trial_row(1, "COMPLETE", 0.3)]
    page = make_run(tmp_path / "quick", [round_row(0, 1, math.nan), round_row(1, 1, 0.3)], trials)
    assert page.figures["figure-sparsity"]["data"][0]["y"] == [None, 30]
    assert "nan" not in page.words.split()


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    names = {"architecture": HOSTILE, "source": HOSTILE}
    trials = [trial_row(n, "FAIL", 0.1 * n, **names, reason=HOSTILE) for n in range(3)]
    models = [model_row(n, proxy=0.1 * n, test=0.1 * n, **names) for n in range(1, 7)]
    name = "<i>run & co"
    page = make_run(
        tmp_path / name, [round_row(0, 1, 0.1)], trials, models, {HOSTILE: HOSTILE, "x": {HOSTILE: HOSTILE}}
    )
    assert not {"img", "b", "i"} & {tag for tag, _ in page.tags}
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)
    assert name in page.words
    assert page.words.count(HOSTILE) > 10
    hovers = page.figures["figure-trust"]["data"][0]["text"]
    assert all("<img" not in text and "&lt;img" in text for text in hovers)


def test_the_page_is_one_file_that_loads_nothing(tmp_path: Path) -> None:
    page = make_run(
        tmp_path / "quick", [round_row(0, 1, 0.4)], [trial_row(0, "COMPLETE", 0.4)], [model_row(1, 0.4, 0.6)]
    )
    links = [attributes["href"] for _, attributes in page.tags if "href" in attributes]
    targets = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert set(links) <= targets
    assert not any("src" in attributes or tag == "link" for tag, attributes in page.tags)
    policies = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    assert [str(policy).split(";")[0] for policy in policies] == ["default-src 'none'"]


def test_the_page_can_be_read_without_seeing_it(tmp_path: Path) -> None:
    page = make_run(tmp_path / "quick", [round_row(0, 1, 0.4)], [trial_row(0, "FAIL", 0.4)], [model_row(1, 0.4, 0.6)])
    plots = [attributes for _, attributes in page.tags if attributes.get("role") == "img"]
    assert len(plots) == len(page.figures) == 5
    assert all(attributes["aria-label"] for attributes in plots)
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    assert labels <= set(ids)


def test_a_directory_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a run directory, since it holds no run\.yaml"):
        write_report(tmp_path)


@pytest.mark.parametrize("text", ["a: [1", "- 1", "", "\x00"])
def test_a_damaged_record(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(UserError, match=r"run\.yaml: "):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_damaged_table_leaves_the_old_report(tmp_path: Path) -> None:
    make_run(tmp_path)
    old = (tmp_path / "report.html").read_bytes()
    (tmp_path / "trials.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match=r"trials\.parquet"):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == old


def test_a_table_of_another_shape_is_named(tmp_path: Path) -> None:
    make_run(tmp_path)
    write_rounds(tmp_path / "trials.parquet", [round_row(0, 1, 0.5)])
    with pytest.raises(UserError, match=r"trials\.parquet: column 'state' is missing"):
        write_report(tmp_path)


def test_models_are_compared_within_their_source() -> None:
    """By hand: each source in order, and the sources against each other backwards, must not read as a bad score."""
    rows = [model_row(n, proxy=0.1 * n, test=0.5 + 0.01 * n) for n in range(1, 6)]
    rows += [{**model_row(n, proxy=0.1 * n, test=0.1 + 0.01 * n), "source": "elsewhere"} for n in range(6, 9)]
    found = facts.trust(rows)
    assert found.correlation is not None
    assert found.correlation.pairs == 5
    assert found.correlation.rho == pytest.approx(1.0)
    assert sum("the best of those retrained" in detail for detail in found.details) == 2
    assert any("not on one scale" in detail for detail in found.details)
