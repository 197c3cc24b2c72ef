from __future__ import annotations

from typing import Any

import pytest

from search.proxies.budget_section import budget_section
from search.proxies.notes import failure_notes, truth_notes
from search.proxies.page import page_body
from search.proxies.sheets import NOTHING
from tests.search.proxies.answer_rows import Evaluation, answer, evaluation, truth

HEADINGS = [
    "## How well each score ranks, and its cost",
    "## Among the truly best",
    "## Among architectures of similar size",
    "## What trusting a score costs",
    "## What budget a score deserves",
    "## How the truth was found",
    "## Failures",
    "## How to read this",
]


@pytest.fixture(scope="module")
def made() -> Evaluation:
    return evaluation(40)


def page(found: Evaluation, **other: Any) -> str:
    of = found.answers
    return page_body(of.overall, of.subsets, of.regrets, of.hits, of.failures, found.truths, **other)


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#")]


def cells(text: str, name: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def hit(proxy: str, trained: float, cost: float | None, unit: str = "seconds") -> dict[str, Any]:
    return {"proxy": proxy, "unit": unit, "trained": trained, "cost": cost}


HITS = [
    hit("random search", 2.25, 20),
    hit("train everything", 4, 40),
    hit("useless", 3, 31),
    hit("lucky", 1, 11),
    hit("good", 1.5, 14),
]
ORDER = ["good", "lucky", "useless"]


class TestPage:
    def test_the_verdict_comes_first_and_the_sections_under_their_headings(self, made: Evaluation) -> None:
        text = page(made)
        assert text.startswith("- **")
        assert headings(text) == HEADINGS
        assert "nan" not in text
        assert "None" not in text
        assert text.endswith("\n")

    def test_every_score_is_in_every_table(self, made: Evaluation) -> None:
        sections = page(made).split("\n## ")[1:6]
        names = {row["proxy"] for row in made.answers.overall}
        for section in sections:
            rows = {line.split(" | ")[0].removeprefix("| ") for line in section.splitlines() if line.startswith("| ")}
            assert names <= rows

    def test_tables_are_rectangular(self, made: Evaluation) -> None:
        for section in page(made).split("\n## ")[1:7]:
            widths = {line.count(" | ") for line in section.splitlines() if line.startswith("| ")}
            assert len(widths) == 1 or section.startswith("How the truth")

    def test_without_answers_it_says_so(self) -> None:
        assert page_body([], [], [], [], [], []) == f"{NOTHING}\n"
        text = page_body([], [], [], [], [], [truth()])
        assert text.startswith(f"{NOTHING}\n\n## How the truth was found\n")

    def test_a_section_without_rows_is_left_out(self) -> None:
        text = page_body([answer()], [], [], [], [], [])
        assert headings(text) == [HEADINGS[0], HEADINGS[-1]]

    def test_failures_are_counted_beside_the_architectures(self) -> None:
        text = page_body([answer("zen", failed=3, architectures=97)], [], [], [], [], [])
        assert cells(text, "zen")[:3] == ["zen", "97 (3 failed)", "0.70 [0.60, 0.78]"]

    def test_regret_is_beside_the_control_and_marked_where_it_is_worse(self) -> None:
        regrets = [
            {"proxy": "nwot", "k": 1, "regret": 0.0312, "random_regret": 0.1},
            {"proxy": "nwot", "k": 5, "regret": 0.0601, "random_regret": 0.06},
        ]
        text = page_body([answer()], [], regrets, [], [], [])
        section = text.split("\n## ")[2]
        assert cells(section, "at random") == ["at random", "10.00", "6.00"]
        assert cells(section, "nwot") == ["nwot", "3.12", "6.01 †"]
        assert "†: worse than choosing at random." in section

    def test_a_name_with_a_bar_does_not_break_the_table(self) -> None:
        failure = {"proxy": "zen", "architecture": "|none~0|+|skip~0|none~1|", "reason": "No norm."}
        assert "\\|none~0\\|+\\|skip~0\\|none~1\\|" in page_body([answer()], [], [], [], [failure], [])

    def test_sizes_of_subsets_are_told(self) -> None:
        subsets = [{**answer(), "subset": "top 10 %", "architectures": 72}]
        subsets += [{**answer(), "subset": "parameters <= 120k", "architectures": 240}]
        text = page_body([answer()], subsets, [], [], [], [])
        assert "| Spearman of | top 10 % (72) | all |" in text
        assert "| Spearman of | parameters &lt;= 120k (240) | all |" in text


class TestBudget:
    def test_the_verdict_is_about_the_score_that_ranks_best_and_not_about_the_lucky_one(self) -> None:
        text = budget_section(HITS, ORDER, 0.005)
        assert text.startswith(
            "Finding an architecture within 0.5 points of the best takes 1.5 trainings and 14 s (35 %) when good, the "
            "score of the highest Spearman, chooses what is trained, and is expected to take 2.25 and 20 s (50 %) in "
            "random order. No better than chance: useless.\n"
        )

    def test_each_way_has_a_line_those_that_train_least_first(self) -> None:
        text = budget_section(HITS, ORDER, 0.005)
        assert cells(text, "good") == ["good", "1.5", "14 s (35 %)"]
        assert cells(text, "random search") == ["random search", "2.25", "20 s (50 %)"]
        names = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")][2:]
        assert names == ["| lucky", "| good", "| random search", "| useless", "| train everything"]

    def test_every_unit_has_a_column(self) -> None:
        rows = [*HITS, hit("good", 1.5, 3e9, unit="flops"), hit("train everything", 4, 1e10, unit="flops")]
        assert cells(budget_section(rows, ORDER, 0.005), "good")[-1] == "3 G (30 %)"
        assert cells(budget_section(rows, ORDER, 0.005), "useless")[-1] == "-"

    def test_a_cost_that_is_not_known_is_a_dash(self) -> None:
        rows = [hit("good", 1.5, float("nan")), *HITS[:2]]
        assert cells(budget_section(rows, ORDER, 0.005), "good") == ["good", "1.5", "-"]

    def test_nothing_of_nothing(self) -> None:
        assert budget_section([], [], 0.005) == ""


class TestWarnings:
    def test_an_unfinished_evaluation_says_so_first(self) -> None:
        text = page_body([answer()], [], [], [], [], [], unfinished="3 of 9 scores, 1 of 9 true accuracies.")
        assert text.startswith("**Unfinished: 3 of 9 scores, 1 of 9 true accuracies. The most expensive")

    def test_sets_that_may_know_the_held_back_images_are_named(self) -> None:
        text = page_body([answer()], [], [], [], [], [], foreign_sets=["search", "plain"])
        assert "- The distilled sets search, plain were not made from this run's training images" in text
        assert "were not made from" not in page_body([answer()], [], [], [], [], [])


class TestTruth:
    def test_trainings(self) -> None:
        rows = [
            truth("a", 0.6, accuracy_std=0.003, learning_rate=0.002),
            truth("b", 0.7, accuracy_std=0.004, learning_rate=0.002),
            truth("c", 0.8, accuracy_std=0.005, learning_rate=0.008),
            truth("d", None, accuracy_std=None, learning_rate=None, seeds=0, status="failed", reason="Too deep."),
        ]
        text = truth_notes(rows)
        assert "- 3 of 4 architectures have been trained (1 failed), with 2 seeds each.\n" in text
        assert "between 60.0 and 80.0 %" in text
        # sqrt((9 + 16 + 25) / 3) = 4.08 thousandths; the sample deviation of 60, 70 and 80 is 10.
        assert "differ by 0.41 points (standard deviation), architectures by 10.00." in text
        assert "It took 4 min 0 s, 4 min 4 s of the processor, 200 k image-gradients in all" in text
        assert cells(text, "0.002") == ["0.002", "2"]
        diverged = [*rows[:3], truth("d", 0.1, accuracy_std=None, status="diverged")]
        assert "4 of 4 architectures have been trained (1 diverged, and count as chance)" in truth_notes(diverged)
        assert cells(text, "0.008") == ["0.008", "1"]

    def test_a_table(self) -> None:
        bare = dict.fromkeys(("accuracy_std", "seeds", "learning_rate", "image_gradients", "seconds"))
        rows = [truth(name, 0.9, status="table", processor_seconds=None, **bare) for name in "ab"]
        assert truth_notes(rows).splitlines() == [
            "- Accuracies of 2 architectures were read from a table.",
            "- Accuracies lie between 90.0 and 90.0 %.",
            "- How much another seed would change them is not known, and bounds what any score can reach.",
        ]

    def test_nothing_is_known_yet(self) -> None:
        assert truth_notes([]) == ""
        assert truth_notes([truth("a", None, status="unfinished")]) == ""


class TestFailures:
    def test_equal_reasons_share_a_line(self) -> None:
        failures = [{"proxy": "zen", "architecture": f"net {i}", "reason": "It has\nno norm."} for i in range(5)]
        text = failure_notes(failures, [truth("deep", None, status="failed", reason="Too deep."), truth()])
        assert cells(text, "zen") == ["zen", "5", "net 0; net 1; net 2 and 2 more", "It has no norm."]
        assert cells(text, "the truth") == ["the truth", "1", "deep", "Too deep."]

    def test_of_many_lines_the_first_are_shown(self) -> None:
        failures = [{"proxy": "zen", "architecture": f"net {i}", "reason": f"Reason {i}."} for i in range(25)]
        text = failure_notes(failures, [])
        assert text.count("\n| zen |") == 20
        assert "And 5 more lines like these" in text

    def test_a_long_reason_is_cut_and_none_is_said_to_be_unknown(self) -> None:
        failures = [{"proxy": "zen", "architecture": "a", "reason": "x" * 999}]
        failures.append({"proxy": "nwot", "architecture": "a", "reason": ""})
        text = failure_notes(failures, [])
        assert len(cells(text, "zen")[-1]) == 200
        assert cells(text, "nwot")[-1] == "not known"

    def test_all_is_well(self) -> None:
        assert failure_notes([], [truth()]) == ""
