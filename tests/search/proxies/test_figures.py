from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.output.panels import Line, Panel
from search.proxies.budget import Point
from search.proxies.figures import budget, rank_correlation, scores_against_truth, write_figures
from search.proxies.growth import drawn_points, growth_curves
from tests.search.proxies.answer_rows import Evaluation, answer, evaluation, truth

KINDS = ["rank-correlation", "rank-correlation-image-gradients", "budget", "scores-truth"]


def texts(path: Path) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def coordinates(path: Path) -> list[float]:
    drawn = re.findall(r' d="([^"]*)"', path.read_text(encoding="utf-8"))
    return [float(number) for one in drawn for number in re.sub("[MLCQZz]", " ", one).split()]


def written(found: Evaluation, folder: Path) -> list[Path]:
    return write_figures(found.answers.overall, found.answers.budgets, found.truths, found.columns, folder)


def named(panel: Panel) -> dict[str, Line]:
    return {line.label: line for line in panel.lines if line.label}


def points(*pairs: tuple[float, float]) -> list[Point]:
    return [Point(k, cost, accuracy) for k, (cost, accuracy) in enumerate(pairs, start=1)]


def budget_rows(curves: dict[str, list[tuple[float, float]]], unit: str = "seconds") -> list[dict[str, Any]]:
    return [
        {"proxy": name, "unit": unit, "k": k, "cost": cost, "accuracy": accuracy}
        for name, pairs in curves.items()
        for k, (cost, accuracy) in enumerate(pairs, start=1)
    ]


@pytest.fixture(scope="module")
def made() -> Evaluation:
    return evaluation(40)


@pytest.fixture(scope="module")
def files(made: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(made, tmp_path_factory.mktemp("figures"))


class TestFiles:
    def test_one_a_kind(self, files: list[Path]) -> None:
        assert [path.stem for path in files] == KINDS

    def test_coordinates_are_finite(self, files: list[Path]) -> None:
        for path in files:
            numbers = coordinates(path)
            assert len(numbers) > 50
            assert all(map(math.isfinite, numbers))

    def test_names_are_there(self, files: list[Path]) -> None:
        assert {"parameters", "search-set", "real", "pruning area"} <= set(texts(files[0]))
        assert {"random search", "train everything"} <= set(texts(files[2]))
        assert any(word.startswith("parameters: Spearman") for word in texts(files[3]))

    def test_the_same_bytes_again(self, made: Evaluation, files: list[Path], tmp_path: Path) -> None:
        assert [path.read_bytes() for path in written(made, tmp_path)] == [path.read_bytes() for path in files]

    def test_nothing_of_nothing(self, tmp_path: Path) -> None:
        assert write_figures([], [], [], {}, tmp_path) == []
        assert write_figures([answer(spearman=None)], [], [truth("a", None)], {"nwot": [math.nan]}, tmp_path) == []

    def test_a_single_score_is_enough(self, tmp_path: Path) -> None:
        rows = [answer("parameters", "parameters")]
        truths = [truth(name, accuracy) for name, accuracy in (("a", 0.5), ("b", 0.6))]
        found = write_figures(rows, budget_rows({"parameters": [(3, 0.6)]}), truths, {"parameters": [1, 2]}, tmp_path)
        assert [path.stem for path in found] == ["rank-correlation", "budget", "scores-truth"]


class TestRankCorrelation:
    def test_readings_of_a_family_are_one_line_in_the_order_of_cost(self) -> None:
        rows = [
            answer("set@100", "distilled_training", 0.6, processor_seconds=9.0),
            answer("set@10", "distilled_training", 0.4, processor_seconds=1.0),
            answer("set speed@10", "distilled_training", 0.3, processor_seconds=1.0),
        ]
        [panel] = rank_correlation(rows, "processor_seconds")
        lines = named(panel)
        assert (lines["set"].x, lines["set"].y) == ([1.0, 9.0], [0.4, 0.6])
        assert lines["set speed"].y == [0.3]
        assert len({(line.style.colour, line.style.marker) for line in lines.values()}) == 2

    def test_intervals_are_bars_that_need_not_be_symmetric(self) -> None:
        [panel] = rank_correlation([answer("nwot", spearman=0.7)], "processor_seconds")
        [bar] = [line for line in panel.lines if not line.label]
        assert list(bar.x) == [0.6, 0.6]
        assert list(bar.y) == pytest.approx([0.6, 0.78])

    def test_the_baseline_is_a_level_also_where_it_costs_nothing(self) -> None:
        rows = [answer("parameters", "parameters", 0.5), answer("real@1", "real_training", image_gradients=100.0)]
        [panel] = rank_correlation(rows, "image_gradients")
        assert [(level.label, level.y) for level in panel.levels] == [("parameters", 0.5)]
        assert set(named(panel)) == {"real"}

    def test_without_costs_there_is_no_figure(self) -> None:
        assert rank_correlation([answer(image_gradients=0.0), answer(image_gradients=None)], "image_gradients") == []


class TestBudget:
    def test_curves_are_stairs_and_end_where_the_best_is_found(self) -> None:
        rows = budget_rows({"nwot": [(10, 0.5), (20, 0.5), (30, 0.8), (40, 0.8)], "train everything": [(39, 0.8)]})
        [panel] = budget([answer()], rows)
        line = named(panel)["nwot"]
        assert line.x == [10, 30, 30]
        assert line.y == pytest.approx([50, 50, 80])
        assert named(panel)["train everything"].x == [39]

    @pytest.mark.parametrize(
        ("there", "label"),
        [(["flops", "seconds"], "Seconds"), (["flops", "image_gradients"], "FLOPs"), (["flops"], "FLOPs")],
    )
    def test_the_unit(self, there: list[str], label: str) -> None:
        rows = [row for unit in there for row in budget_rows({"nwot": [(1, 0.5), (2, 0.6)]}, unit)]
        [panel] = budget([answer()], rows)
        assert panel.x.label.startswith(label)

    def test_five_scores_at_most_and_looks_of_their_own(self, made: Evaluation) -> None:
        [panel] = budget(made.answers.overall, made.answers.budgets)
        lines = named(panel)
        assert len(lines) == 7
        assert len({line.style for line in lines.values()}) == 7

    def test_the_curves_are_of_the_scores_that_rank_best_not_of_the_lucky_ones(self) -> None:
        answers = [answer(f"s{number}", spearman=0.9 - number / 10) for number in range(7)]
        found = {f"s{number}": [(10.0 - number, 0.5), (100.0, 0.9)] for number in range(7)}
        [panel] = budget(answers, budget_rows({**found, "random search": [(1, 0.1), (100, 0.9)]}, "seconds"))
        assert set(named(panel)) == {"s0", "s1", "s2", "s3", "s4", "random search"}

    def test_a_cost_that_is_nothing_or_not_known_is_not_drawn(self) -> None:
        curves = {"free": points((0, 0.9), (5, 0.9)), "unknown": points((float("nan"), 0.9))}
        assert growth_curves(curves, ["free", "unknown", "absent"]) == {"free": [Point(2, 5, 0.9)]}

    @given(st.integers(1, 3000), st.integers(0, 9))
    def test_of_many_points_few_are_drawn_with_both_ends(self, count: int, flat: int) -> None:
        found = points(*((k + 1, k // (flat + 1)) for k in range(count)))
        kept = drawn_points(found)
        assert 1 <= len(kept) <= 80
        assert (kept[0].cost, kept[-1].accuracy) == (1, found[-1].accuracy)
        assert all(earlier.accuracy < later.accuracy for earlier, later in pairwise(kept))


class TestScoresAgainstTruth:
    def test_points_are_ranks_and_true_accuracies(self) -> None:
        truths = [truth(name, accuracy) for name, accuracy in (("a", 0.5), ("b", None), ("c", 0.7), ("d", 0.6))]
        [panel] = scores_against_truth([answer()], truths, {"nwot": [-3.0, 1.0, 9.0, 9.0]})
        [line] = panel.lines
        assert panel.title == "nwot: Spearman 0.70"
        assert line.style.dashes == ""
        assert sorted(zip(line.x, line.y, strict=True)) == [(1, 50), (2.5, pytest.approx(60)), (2.5, pytest.approx(70))]

    def test_the_best_of_each_family_and_the_baseline_and_a_distilled_one_always(self) -> None:
        rows = [answer(f"score {index}", spearman=0.9 - index / 100) for index in range(8)]
        rows += [answer("real@1", "real_training", 0.95), answer("real@2", "real_training", 0.94)]
        rows += [answer("parameters", "parameters", 0.2), answer("set@1", "distilled_training", 0.1)]
        columns = {row["proxy"]: [1.0, 2.0] for row in rows}
        panels = scores_against_truth(rows, [truth("a", 0.1), truth("b", 0.2)], columns)
        names = [panel.title.partition(":")[0] for panel in panels]
        assert names == ["real@1", "score 0", "score 1", "score 2", "parameters", "set@1"]

    def test_of_many_architectures_some_are_drawn(self) -> None:
        truths = [truth(str(index), index / 5000) for index in range(5000)]
        [panel] = scores_against_truth([answer()], truths, {"nwot": list(map(float, range(5000)))})
        assert len(panel.lines[0].x) == 1000
