from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from dp_core.errors import UserError
from search.pipeline.promotion_file import Promotion, write_promotion
from search.pipeline.tables import write_rounds
from search.report import write_report
from search.report.figures import MOST_CURVES
from search.report.plotting import MOST_POINTS
from tests.search.report.report_rows import drawn_trials, make_run, model_row, no_rounds, round_row, trial_row

HOSTILE = """</script><img src=x onerror="alert(1)"><b>&amp;{{ 7 * 7 }}'"""


def test_a_finished_run(tmp_path: Path) -> None:
    trials = [
        trial_row(0, "COMPLETE", 0.40),
        trial_row(1, "PRUNED", 0.2, reason="stopped early after round 1: others were better"),
        trial_row(2, "FAIL", 0.1, reason="layer collapse", source="real"),
    ]
    rounds = [round_row(0, 2, 0.40), round_row(0, 1, 0.45), round_row(1, 1, 0.2), round_row(2, 1, 0.1)]
    page = make_run(tmp_path / "quick", rounds, trials, [model_row(1, proxy=0.4, test=0.6123, trial=0)])
    assert "The best model is trial 0, convnet depth=3: 61.23 ± 0.50 % test accuracy" in page.words
    assert "at 90.0 % sparsity (120,000 of 120,345 parameters are prunable), with 12,345 parameters left" in page.words
    assert "took 8.2 s; retraining it on real images took 1 min 24 s" in page.words
    assert "Completed 1 reached" in page.words
    assert "Stopped early 1 by" in page.words
    assert "Failed 1 reasons" in page.words
    assert "Screening 15 s all trials, 9 k image-gradients" in page.words
    assert page.words.index("failed layer collapse") < page.words.index("stopped early stopped early after round 1")
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
    assert "The highest proxy accuracy so far is 31.0 ± 0.8 % on distilled-10, by trial 0" in unfinished.words


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


@pytest.mark.parametrize(("judged", "said"), [({}, True), ({"judging": 1}, False)])
def test_scores_of_an_earlier_judge_are_told_apart(judged: dict[str, int], said: bool, tmp_path: Path) -> None:
    page = make_run(tmp_path / "old", record={"command": "winnow search quick.yaml", **judged})
    assert ("Of this run: it was begun when" in page.words) is said


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
    assert "The highest proxy accuracy so far is 30.0 % on distilled-10, by trial 0" in page.words
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
    with pytest.raises(UserError, match=r"trials\.parquet: .*it has no column 'state'"):
        write_report(tmp_path)


def test_audited_models_are_marked(tmp_path: Path) -> None:
    models = [model_row(1, 0.4, 0.6, trial=7), model_row(2, 0.3, 0.5, trial=8, audited=True)]
    page = make_run(tmp_path / "quick", [round_row(7, 1, 0.4)], [trial_row(7, "COMPLETE", 0.4)], models)
    assert "2 audit 8 50.00" in page.words
    assert page.words.count("audit 7") == 0
    assert page.figures["figure-trust"]["data"][0]["marker"]["symbol"] == ["circle", "diamond-open"]
    assert "2 models, 1 of them for the audit" in page.words
    badges = [attributes for _, attributes in page.tags if attributes.get("class") == "badge"]
    assert len(badges) == 2  # the row's and the note's


@pytest.mark.parametrize(("sizes", "loud"), [(range(6), True), (range(6, 0, -1), False)])
def test_a_score_no_better_than_the_parameter_count_is_said_loudly(sizes: range, loud: bool, tmp_path: Path) -> None:
    models = [model_row(n + 1, 0.1 * n, 0.1 * n, parameters_left=100 + size) for n, size in enumerate(sizes)]
    page = make_run(tmp_path / "quick", leaderboard=models)
    verdicts = [str(attributes["class"]) for _, attributes in page.tags if "verdict" in str(attributes.get("class"))]
    assert verdicts == ["verdict alarm" if loud else "verdict"]
    said = "Can I trust the cheap score? The cheap score is no better than counting parameters"
    assert (said in page.words) == loud


def test_models_of_an_earlier_promotion_are_no_evidence(tmp_path: Path) -> None:
    write_promotion(tmp_path / "promotion.json", Promotion(promoted=(0, 1), audited=(2,), population=70))
    models = [model_row(n + 1, 0.5 - 0.1 * n, 0.6 - 0.1 * n, trial=n, audited=n == 2) for n in range(5)]
    assert "Too few to say: only 3 models were retrained" in make_run(tmp_path, leaderboard=models).words


def test_the_audit_of_a_run_speaks_for_what_it_was_drawn_from(tmp_path: Path) -> None:
    write_promotion(tmp_path / "promotion.json", Promotion(promoted=(0, 1, 2), audited=(3, 4), population=70))
    models = [model_row(n + 1, 0.5 - 0.1 * n, 0.6 - 0.1 * n, trial=n, audited=n > 2) for n in range(5)]
    page = make_run(tmp_path, leaderboard=models)
    assert "drawn at random from the 70 that were not promoted" in page.words
    assert "each audited one stands for 35 candidates" in page.words


def test_what_a_search_on_real_images_would_have_cost(tmp_path: Path) -> None:
    """One training of 300 images for 2 epochs took 84 s; two candidates of the same size are 168 s and 1,200."""
    record = {"splits": {"train": 300}, "config": {"retrain": {"epochs": 2}}}
    trials = [trial_row(0, "COMPLETE", 0.4), trial_row(1, "PRUNED", 0.3)]
    rounds = [round_row(0, 1, 0.4), round_row(0, 2, 0.4), round_row(1, 1, 0.3)]
    page = make_run(tmp_path / "quick", rounds, trials, [model_row(1, 0.4, 0.6, trial=0, seeds=1)], record)
    assert "Training every candidate on real images 2 min 48 s 1.2 k 1.8 ×" in page.words
    assert "Iterative pruning of every candidate on real images 5 min 36 s 2.4 k 3.6 ×" in page.words


def test_rungs_are_shown_where_there_are_several(tmp_path: Path) -> None:
    low = round_row(0, 1, math.nan, score=41.5, fidelity="nwot", rung_done=True)
    high = round_row(0, 2, 0.4, rung=1, rung_round=1)
    trials = [trial_row(0, "COMPLETE", 0.4), trial_row(1, "PRUNED", math.nan)]
    page = make_run(tmp_path / "ladder", [low, high, {**low, "trial": 1}], trials)
    assert "distilled 0 nwot 2 1 1 0 0 5.0 s 3 k - 1" in page.words
    assert "distilled 1 distilled-10 1 1 0 0 0 2.5 s 1.5 k - 0" in page.words
    assert page.figures["figure-rounds"]["data"][0]["y"] == [None, 40, None, None, None]
    plain = make_run(tmp_path / "plain", [round_row(0, 1, 0.4)], trials[:1])
    assert "What each rung bought" not in plain.words


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    record = {"config": {"search": {"objectives": ["accuracy", "flops"]}}}
    trials = [
        trial_row(0, "COMPLETE", 0.4, flops_remaining=2_000_000),
        trial_row(1, "COMPLETE", 0.3, flops_remaining=1_000_000),
        trial_row(2, "COMPLETE", 0.2, flops_remaining=3_000_000),
    ]
    page = make_run(tmp_path / "quick", [round_row(0, 1, 0.4)], trials, record=record)
    assert "Proxy accuracy, % ↑ FLOPs remaining ↓" in page.words
    assert "0 40.0 2 M convnet distilled 1 30.0 1 M convnet distilled" in page.words
    others, members = page.figures["figure-front"]["data"]
    assert (others["x"], others["y"]) == ([20], [3_000_000])
    assert (members["x"], members["y"]) == ([30, 40], [1_000_000, 2_000_000])
    assert page.figures["figure-growth"]["data"][0]["x"] == [1, 2, 3]
    begun = make_run(tmp_path / "begun", record=record)
    assert "Several objectives No trial has finished yet." in begun.words
    assert "Several objectives" not in make_run(tmp_path / "one", trials=trials).words


def test_rejected_proposals_are_counted_by_constraint(tmp_path: Path) -> None:
    trials = [
        trial_row(0, "COMPLETE", 0.4),
        *(no_rounds(n, "REJECTED", broken_constraints="max_flops") for n in (1, 2)),
    ]
    page = make_run(tmp_path / "quick", trials=trials)
    assert "Rejected 2 broke a constraint before training" in page.words
    assert "by the constraint that they broke (some broke several): max_flops 2." in page.words


def test_a_report_of_ten_thousand_trials_is_quick_and_no_heavier_than_a_browser_bears(tmp_path: Path) -> None:
    rounds, trials = drawn_trials(10_000, 5, seed=0)
    record = {"config": {"search": {"objectives": ["accuracy", "parameters"]}}}
    began = time.process_time()
    page = make_run(tmp_path / "large", rounds, trials, [model_row(1, 0.4, 0.6, trial=1)], record)
    assert time.process_time() - began < 30
    assert (tmp_path / "large" / "report.html").stat().st_size < 12e6
    drawn = {name: sum(len(trace["x"]) for trace in figure["data"]) for name, figure in page.figures.items()}
    assert drawn["figure-sparsity"] <= MOST_POINTS + 2
    assert drawn["figure-rounds"] <= MOST_CURVES * 6
    assert "ValueError: the loss became nan 436" in page.words  # as `drawn_trials` says of this seed
    assert "The first 200 of 3,409" in page.words


def test_the_cheap_score_is_judged_by_models_of_one_recipe(tmp_path: Path) -> None:
    """Of trial 11 two recipes are known: the better one is on the leaderboard, and the other is the promotion's."""
    folder = tmp_path / "twice"
    folder.mkdir()
    rows = [model_row(rank, 0.5 - 0.01 * rank, 0.7 - 0.02 * rank) for rank in range(1, 6)]
    rows[0] = {**rows[0], "recipe": "9epochs-ffffff", "epochs": 9, "validation_accuracy": 0.9}
    own = {**model_row(1, 0.49, 0.30), "rank": None, "validation_accuracy": 0.2}
    write_promotion(folder / "promotion.json", Promotion((11, 12, 13, 14, 15), (), 0, recipe="5epochs-abc123"))
    page = make_run(folder, trials=[trial_row(11, "COMPLETE", 0.4)], leaderboard=[*rows, own])
    # By hand: proxies fall from trial 11 to 15, tests are 0.30 and then 0.66, 0.64, 0.62, 0.60: Σd² = 4² + 4 · 1 = 20,
    # and 1 - 6 · 20 / (5 · 24) = 0. By the models of the leaderboard it would be 1.
    assert "Spearman rank correlation of proxy accuracy with test accuracy is +0.00" in page.words
    assert "Retrained by several recipes" in page.words
    assert "11 90.0 9" in page.words
    assert "11 20.0 5" in page.words


def test_the_ticks_of_rounds_are_whole_numbers(tmp_path: Path) -> None:
    rounds = [round_row(0, number, 0.4) for number in (1, 2, 3)]
    page = make_run(tmp_path / "quick", rounds, [trial_row(0, "COMPLETE", 0.4)], [])
    assert page.figures["figure-rounds"]["layout"]["xaxis"]["dtick"] == 1
