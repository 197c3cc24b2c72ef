from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from search.output.sheet import Sheet
from search.proxies.cells import difference, plain, seconds, with_interval
from search.proxies.sheets import NOTHING, proxy_sheets
from tests.search.proxies.answer_rows import answer, evaluation, lead


def printed(rows: list[dict], subsets: list[dict], regrets: list[dict], width: int = 90) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    for sheet in proxy_sheets(rows, subsets, regrets):
        console.print(sheet)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def line_of(lines: list[str], name: str) -> list[str]:
    return [line for line in lines if line.startswith(name)]


def inside(proxy: str, subset: str, spearman: float | None) -> dict[str, Any]:
    return {**answer(proxy, spearman=spearman), "subset": subset}


def test_the_best_comes_first_and_what_has_no_correlation_last() -> None:
    rows = [answer("a", spearman=-0.3), answer("b", spearman=None), answer("c", spearman=0.9), answer("d", spearman=0)]
    lines = printed(rows, [], [])
    assert [line[0] for line in lines if line[:1] in set("abcd")] == ["c", "d", "a", "b"] * 2


def test_figures_of_a_row() -> None:
    row = answer("nwot", spearman=0.7, kendall=0.512, seconds=0.0421, flops=2e9, image_gradients=6400.0)
    regrets = [{"proxy": "nwot", "k": k, "regret": 0.02 / k, "random_regret": 0.1 / k} for k in (1, 3, 5)]
    subsets = [inside("nwot", "top 5", 0.11), inside("nwot", "top 20", 0.35), inside("nwot", "top 10 %", 0.42)]
    lines = printed([row | lead(0.21, 0.05, 0.39)], subsets, regrets)
    ranking, costs = line_of(lines, "nwot")
    assert ranking.split() == ["nwot", "0.70", "[0.60,", "0.78]", "0.51", "0.42", "0.35", "+0.21", "[0.05,", "0.39]"]
    assert costs.split() == ["nwot", "2.0", "0.4", "0.0421", "6.4", "k", "2", "G"]
    [control] = line_of(lines, "at random")
    assert control.split() == ["at", "random", "10.0", "2.0", "-", "-", "-"]


def test_without_a_baseline_there_is_no_column_for_it() -> None:
    [first, _] = proxy_sheets([answer(baseline=None)], [], [])
    assert isinstance(first, Sheet)
    assert first.headings == ["Proxy", "Spearman\n[95 % interval]", "Kendall"]


def test_in_90_columns_names_are_folded_and_figures_never() -> None:
    name = "a-distilled-set-with-a-very-long-name speed@10000"
    found = evaluation(30).answers
    rows = [row | {"proxy": name} if row["proxy"] == "nwot" else row for row in found.overall]
    [figures] = [row for row in rows if row["proxy"] == name]
    text = "\n".join(printed(rows, found.subsets, found.regrets))
    assert with_interval(figures, "spearman") in text
    assert difference(figures) in text
    assert "…" not in text
    assert name not in text
    assert name in "\n".join(printed(rows, found.subsets, found.regrets, 200))


def test_a_name_is_no_markup() -> None:
    assert "[bold]" in "\n".join(printed([answer("[bold]")], [], []))


def test_without_rows_it_says_so() -> None:
    assert "\n".join(printed([], [], [])).strip() == NOTHING


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (float("nan"), "-"), (0.725, "0.72"), (-0.001, "0.00"), (-0.5, "-0.50")]
)
def test_correlations(value: float | None, text: str) -> None:
    assert plain(value) == text


def test_differences_have_a_sign() -> None:
    assert difference(answer() | lead(0.206, -0.051, 0.391)) == "+0.21 [-0.05, 0.39]"
    assert difference(answer() | lead(-0.3, -0.5, -0.1)) == "-0.30 [-0.50, -0.10]"
    assert difference(answer()) == "-"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.0001, "<0.001"), (0.04212, "0.0421"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text
