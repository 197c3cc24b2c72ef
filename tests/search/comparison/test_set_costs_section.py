"""What masks cost with the making of their sets."""

from __future__ import annotations

from typing import Any

import pytest

from search.comparison.page import page_body
from search.comparison.set_costs_section import pays_from, set_costs_section
from tests.search.comparison.result_rows import comparison, result

DISTILLED: dict[str, Any] = {
    "source": "ours",
    "kind": "iterative",
    "set_image_gradients": 90_000,
    "set_seconds": 1_600.0,
    "mask_image_gradients": 9_000,
    "mask_processor_seconds": 8.0,
}
IMP: dict[str, Any] = {"mask_image_gradients": 90_000, "mask_processor_seconds": 28.0}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    lines = [cells(line) for line in set_costs_section(rows).splitlines() if line.startswith("|")]
    return {line[1]: line for line in lines[2:]}


def test_the_cost_of_the_set_is_shared_by_masks() -> None:
    found = table([result("distilled-30", accuracy=0.5, **DISTILLED), result("imp", accuracy=0.6, **IMP)])
    assert found["distilled-30"] == [
        *("convnet", "distilled-30", "90 %", "50.0", "9 k / 8", "90 k / 1,600"),
        *("99 k / 1,608", "18 k / 168", "9.9 k / 24"),
        "2 / 81",
    ]
    assert found["imp"] == ["convnet", "imp", "90 %", "60.0", "90 k / 28", *["-"] * 5]


def test_costs_are_those_of_the_highest_sparsity() -> None:
    early = result("distilled-30", target_sparsity=0.8, **{**DISTILLED, "mask_image_gradients": 5_000})
    found = table([early, result("distilled-30", **DISTILLED), result("imp", **IMP)])
    assert found["distilled-30"][2:5] == ["90 %", "70.0", "9 k / 8"]


def test_they_are_told_where_both_have_a_mask() -> None:
    dearer = {**DISTILLED, "mask_image_gradients": 12_000, "target_sparsity": 0.95}
    rows = [result("distilled-30", **DISTILLED), result("distilled-30", **dearer), result("imp", **IMP)]
    assert {name: line[2] for name, line in table(rows).items()} == {"distilled-30": "90 %", "imp": "90 %"}
    alone = [row for row in rows if row["method"] != "imp"]
    assert table(alone)["distilled-30"][2] == "95 %"


def test_a_sparsity_of_many_digits_is_one_sparsity() -> None:
    at: dict[str, Any] = {"target_sparsity": 1 - 0.8**7}
    rows = [result("distilled-30", **DISTILLED, **at), result("imp", **IMP, **at)]
    assert set(table(rows)) == {"distilled-30", "imp"}


def test_an_imp_that_collapsed_has_no_cost_to_be_compared_with() -> None:
    gone: dict[str, Any] = {"mask_image_gradients": None, "mask_processor_seconds": None, "status": "collapsed"}
    found = table([result("distilled-30", **DISTILLED), result("imp", accuracy=None, **gone)])
    assert found["distilled-30"][-1] == "-"
    assert found["imp"][4] == "- / -"


def test_seconds_are_not_compared_where_masks_take_as_many_image_gradients() -> None:
    equal: dict[str, Any] = {"mask_image_gradients": 9_000, "mask_processor_seconds": 8.3}
    assert table([result("distilled-30", **DISTILLED), result("imp", **equal)])["distilled-30"][-1] == "-"


def test_a_set_of_which_the_seconds_are_not_known_has_its_image_gradients() -> None:
    found = table([result("distilled-30", **{**DISTILLED, "set_seconds": None}), result("imp", **IMP)])
    assert found["distilled-30"][5:] == ["90 k / -", "99 k / -", "18 k / -", "9.9 k / -", "2 / -"]


def test_controls_have_no_line() -> None:
    control = {**DISTILLED, "kind": "shuffled", "parent": "distilled-30"}
    assert "shuffled" not in table([result("distilled-30", **DISTILLED), result("shuffled", **control)])


def test_without_imp_nothing_is_compared() -> None:
    assert table([result("distilled-30", **DISTILLED)])["distilled-30"][-1] == "-"


def test_sets_of_unknown_cost_and_no_sets_have_no_line() -> None:
    unknown = {**DISTILLED, "set_image_gradients": None, "set_seconds": None}
    rows = [result("mtt-30", **unknown), result("distilled-30", **DISTILLED), result("imp", **IMP)]
    assert set(table(rows)) == {"distilled-30", "imp"}
    assert set_costs_section([result("mtt-30", **unknown), result("imp", **IMP)]) == ""
    assert "with its set" not in page_body(comparison())
    assert "## Cost of a mask with its set" in page_body(rows)


@pytest.mark.parametrize(
    ("of_set", "mask", "reference", "masks"),
    [(90.0, 1.0, 10.0, 11), (89.9, 1.0, 10.0, 10), (0.0, 1.0, 10.0, 1), (5.0, 10.0, 10.0, None)],
)
def test_a_set_pays_as_soon_as_all_masks_together_are_cheaper(
    of_set: float, mask: float, reference: float, masks: int | None
) -> None:
    assert pays_from(of_set, mask, reference) == masks
    if masks is not None:
        assert masks * mask + of_set < masks * reference
        assert masks == 1 or (masks - 1) * mask + of_set >= (masks - 1) * reference
