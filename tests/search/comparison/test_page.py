"""The page of a comparison: its sections, and what it says of costs, sets and spread."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.study import page
from search.comparison.notes import notes
from search.comparison.page import page_body
from tests.search.comparison.result_rows import comparison, dense, result

DISTILLED: dict[str, Any] = {
    "source": "distilled",
    "space": "standardised",
    "set_image_gradients": 20_000,
    "set_seconds": 31.2,
}
IMPORTED: dict[str, Any] = {"source": "mtt", "space": "whitened"}


def test_sections_come_under_their_headings() -> None:
    headings = [line for line in page_body(comparison()).splitlines() if line.startswith("#")]
    assert headings == [
        "## All methods",
        "## How to read tables and plots",
        "## Learning rates and sharpness",
        "## Best by cost of the mask",
        "## Crossing points",
    ]


def test_the_benchmark_writes_the_same_sections() -> None:
    recorded = {
        "command": "winnow prune x",
        "machine": "Linux",
        "python": "3.11",
        "versions": {},
        "splits": {"train": 9, "validation": 3, "test": 2},
    }
    rows = comparison()
    text = page([recorded], rows, [("imp-15", "subset-15")])
    assert page_body(rows).rstrip() in text
    assert "- seeds: 0, 1, 2\n" in text
    assert text.split("## ")[-1].startswith("Differences, seed by seed")


def test_a_section_without_content_is_left_out() -> None:
    headings = [line for line in page_body([dense()]).splitlines() if line.startswith("#")]
    assert headings == ["## All methods", "## How to read tables and plots", "## Learning rates and sharpness"]


def test_without_rows_it_says_so() -> None:
    assert page_body([]) == "Nothing of the comparison is finished yet.\n"


def test_learning_rates_are_those_of_a_seed_that_has_them() -> None:
    rows = [
        result(seed=0, accuracy=None, learning_rate=None, train_learning_rate=None),
        result(seed=1, learning_rate=0.003, top_eigenvalue=10.0, eigenvalue_converged=True),
        result(seed=2, learning_rate=0.003, top_eigenvalue=30.0, eigenvalue_converged=False),
    ]
    text = page_body(rows)
    assert "| convnet | imp | 0.003 | 0.01 | 90 %: 20\\* |" in text
    assert "had not converged" in text
    assert "had not converged" not in page_body(rows[:2])


@pytest.mark.parametrize(
    ("rows", "told", "untold"),
    [
        ([result()], "Trying learning rates is not counted, ", "set of"),
        ([result("distilled", **DISTILLED)], "set of distilled cost 20 k image-gradients and 31 s.", "not known"),
        ([result("mtt", **IMPORTED)], "What the set of mtt cost to make is not known.", "image-gradients and"),
        ([result("mtt", **IMPORTED)], "the rounds of mtt are on ZCA-whitened images.", "drawn anew"),
        ([result("distilled", **DISTILLED)], "A set lives in its own preprocessing. All tickets", "whitened"),
        (
            [result("subset_zca", source="subset", space="whitened")],
            "the rounds of subset_zca are on ZCA-whitened images. All tickets are retrained on standardised",
            "spread",
        ),
        (
            [result("distilled", **DISTILLED), result("subset", source="subset")],
            "The spread of distilled is over seeds with one and the same set; the random images of subset are drawn",
            "whitened",
        ),
        ([result(error_barrier=0.01)], "Error barriers are on validation images.", "collapsed"),
        ([result(status="collapsed")], "A seed that collapsed counts with the accuracy that it has.", "barriers"),
    ],
)
def test_notes_say_what_the_rows_give_reason_to(rows: list[dict[str, Any]], told: str, untold: str) -> None:
    text = "\n".join(notes(rows))
    assert told in text
    assert untold not in text


def test_a_mask_that_starts_from_a_distilled_one_rests_on_its_set() -> None:
    combined = result("combined", source="real", parent="distilled", set_image_gradients=20_000, set_seconds=31.2)
    rows = [result("distilled", seed, **DISTILLED) for seed in range(2)] + [combined]
    [said] = [note for note in notes(rows) if "Making the set" in note]
    assert said.count("Making the set of distilled, combined cost 20 k") == 1
