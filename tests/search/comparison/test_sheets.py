from __future__ import annotations

import io
import math
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import ttest_rel

from dp_core.errors import UserError
from search.comparison.sheets import comparison_sheets, prune_sheets, sparsity_label
from search.comparison.statistics import deviation, paired_differences, reference_method, summarise, t_interval
from tests.search.comparison.result_rows import comparison, dense, result

DEAR: dict[str, Any] = {"mask_image_gradients": 6000, "mask_seconds": 30.0, "mask_processor_seconds": 48.0}


def markdown(rows: list[dict]) -> str:
    return "\n".join(sheet.markdown() for sheet in comparison_sheets(rows))


def only(rows: list[dict], method: str, sparsity: float = 0.9) -> dict:
    [row] = [row for row in rows if row["method"] == method and row["target_sparsity"] == sparsity]
    return row


class TestSummarise:
    def test_mean_and_sample_deviation(self) -> None:
        row = only(summarise([result(seed=seed, accuracy=value) for seed, value in enumerate((0.6, 0.7, 0.8))]), "imp")
        assert row["test_accuracy"] == pytest.approx(0.7)
        assert row["test_accuracy_std"] == pytest.approx(0.1)  # √((0.01 + 0 + 0.01) / 2)
        assert (row["seeds"], row["accuracies"], row["collapsed"]) == (3, 3, 0)

    def test_one_seed_has_no_deviation(self) -> None:
        assert only(summarise([result()]), "imp")["test_accuracy_std"] is None

    def test_a_collapsed_seed_counts_with_its_accuracy_and_not_without(self) -> None:
        rows = [
            result(seed=0, accuracy=0.7),
            result(seed=1, accuracy=0.1, status="collapsed"),
            result(seed=2, accuracy=None, status="diverged"),
            result(seed=3, accuracy=math.nan, status="diverged"),
        ]
        row = only(summarise(rows), "imp")
        assert row["test_accuracy"] == pytest.approx(0.4)
        assert (row["seeds"], row["accuracies"], row["collapsed"]) == (4, 2, 3)

    def test_cheaper_than_imp_is_a_ratio_at_the_same_sparsity(self) -> None:
        rows = [
            result("imp", mask_image_gradients=3000, mask_seconds=15.0, mask_processor_seconds=20.0),
            result("imp", target_sparsity=0.95, **DEAR),
            result("distilled", target_sparsity=0.95, mask_image_gradients=400, mask_seconds=2.0),
            result("distilled", mask_image_gradients=200, mask_seconds=1.0, mask_processor_seconds=2.5),
        ]
        row = only(summarise(rows), "distilled")
        assert row["cheaper_in_image_gradients"] == 15
        assert row["cheaper_in_seconds"] == 15
        assert row["cheaper_in_processor_seconds"] == 8
        later = only(summarise(rows), "distilled", 0.95)
        assert (later["cheaper_in_image_gradients"], later["cheaper_in_processor_seconds"]) == (15, 6)
        assert only(summarise(rows), "imp")["cheaper_in_seconds"] == 1

    def test_a_free_mask_and_a_run_without_imp_have_no_ratio(self) -> None:
        free = result("random", mask_image_gradients=0, mask_seconds=0.0)
        assert only(summarise([result(), free]), "random")["cheaper_in_image_gradients"] is None
        assert only(summarise([result("distilled")]), "distilled")["cheaper_in_seconds"] is None

    def test_targets_that_differ_in_rounding_are_one(self) -> None:
        rows = [result(target_sparsity=1 - 0.8**3), result(seed=1, target_sparsity=0.488)]
        assert [row["seeds"] for row in summarise(rows)] == [2]

    def test_costs_are_means_over_seeds_with_a_ticket(self) -> None:
        gone = result("imp", 1, None, status="collapsed", mask_image_gradients=None, mask_seconds=None)
        assert only(summarise([result(mask_seconds=6.0), gone]), "imp")["mask_seconds"] == 6.0
        assert only(summarise([gone]), "imp")["mask_image_gradients"] is None

    def test_networks_do_not_mix(self) -> None:
        rows = [result(), result("distilled", network="vgg11", mask_image_gradients=10)]
        found = summarise(rows)
        assert [row["network"] for row in found] == ["convnet", "vgg11"]
        assert found[1]["cheaper_in_image_gradients"] is None

    def test_barrier_and_eigenvalue_are_means_of_what_was_measured(self) -> None:
        rows = [result(seed=seed, error_barrier=value) for seed, value in enumerate((0.02, None, 0.04))]
        row = only(summarise(rows), "imp")
        assert row["error_barrier"] == pytest.approx(0.03)
        assert row["top_eigenvalue"] is None

    @given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
    def test_agrees_with_numpy(self, values: list[float]) -> None:
        row = only(summarise([result(seed=seed, accuracy=value) for seed, value in enumerate(values)]), "imp")
        assert row["test_accuracy"] == pytest.approx(np.mean(values), abs=1e-12)
        assert row["test_accuracy_std"] == pytest.approx(np.std(values, ddof=1), abs=1e-9)


def test_reference_is_the_dearest_imp_and_the_first_among_equals() -> None:
    rows = [
        result("imp-short", mask_image_gradients=10),
        result("imp-init", mask_image_gradients=900),
        result("imp-epoch1", mask_image_gradients=900),
        result("imp-subset", source="subset", mask_image_gradients=5000),
        result("imp-taylor", criterion="taylor", mask_image_gradients=5000),
    ]
    assert reference_method(rows) == "imp-init"
    assert reference_method(rows[3:]) is None


def test_what_builds_on_another_method_is_no_reference() -> None:
    rows = [
        result("imp", mask_image_gradients=10),
        result("imp-on-distilled", parent="distilled", mask_image_gradients=900),
        result("imp-shuffled", kind="shuffled", parent="imp", mask_image_gradients=900),
        result("imp-rewound", kind="rewound", mask_image_gradients=900),
    ]
    assert reference_method(rows) == "imp"
    assert reference_method(rows[1:]) is None
    plain = [{key: value for key, value in row.items() if key not in ("kind", "parent")} for row in rows[:1]]
    assert reference_method(plain) == "imp"


class TestPairedDifferences:
    def test_interval_is_students(self) -> None:
        """Differences 1, 2, 3 points: mean 2, s = 1, t(0.975, 2) = 4.302653, half width 4.302653 / √3 = 2.484."""
        rows = [result("imp", seed, 0.5) for seed in range(4)]
        rows += [result("distilled", seed, 0.5 + 0.01 * (seed + 1)) for seed in range(3)]
        [found] = paired_differences(rows, "distilled", "imp")
        assert (found.network, found.target_sparsity, found.seeds) == ("convnet", 0.9, 3)
        assert found.mean == pytest.approx(0.02)
        assert found.low == pytest.approx(-0.0048414, abs=1e-6)
        assert found.high == pytest.approx(0.0448414, abs=1e-6)

    def test_one_common_seed_has_no_interval_and_none_no_row(self) -> None:
        rows = [result("imp", 0, 0.5), result("imp", 1, 0.5), result("distilled", 1, 0.6), result("snip", 7, 0.6)]
        [found] = paired_differences(rows, "distilled", "imp")
        assert (found.seeds, found.low, found.high) == (1, None, None)
        assert paired_differences(rows, "snip", "imp") == []

    def test_an_unknown_method_is_told(self) -> None:
        with pytest.raises(UserError, match=r"no method 'distiled'\. Did you mean 'distilled'"):
            paired_differences([result("distilled")], "distilled", "distiled")

    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6))
    def test_agrees_with_scipy(self, pairs: list[tuple[float, float]]) -> None:
        first, second = zip(*pairs, strict=True)
        differences = [one - other for one, other in pairs]
        if (deviation(differences) or 0) < 1e-6:
            return
        expected = ttest_rel(first, second).confidence_interval(0.95)
        assert t_interval(differences) == pytest.approx((expected.low, expected.high))


class TestRendering:
    rows: ClassVar = [
        dense(0, 0.75, error_barrier=0.01),
        dense(1, 0.77),
        *(result("imp", seed, 0.7 + 0.02 * seed, error_barrier=0.025, **DEAR) for seed in range(2)),
        result(
            "distilled|30", 0, 0.68, steps=30, mask_image_gradients=500, mask_seconds=2.0, mask_processor_seconds=4.0
        ),
        result("distilled|30", 1, None, status="collapsed", mask_image_gradients=500, mask_processor_seconds=4.0),
    ]

    def test_markdown_holds_the_figures(self) -> None:
        lines = markdown(self.rows).splitlines()
        assert lines[0] == "**convnet**"
        assert lines[2].startswith(
            "| Method | dense | 90 % | Mask s to 90 % | Processor s | Steps a round | Image-gradients |"
        )
        assert lines[4] == "| dense | 76.0 ± 1.4 | - | - | - | - | - | - | 1.0 (dense) |"
        assert lines[5] == "| imp | - | 71.0 ± 1.4 | 30.0 | 48.0 | - | 6 k | 1 / 1 | 2.5 |"
        assert lines[6] == "| distilled\\|30 | - | 68.0 †1 | 3.0 | 4.0 | 30 | 500 | 12 / 12 | - |"
        assert "over 2 seeds" in lines[8]
        assert "collapsed, diverged or had a mask that left nothing to train with" in lines[8]
        assert lines[8].endswith("IMP is imp. 8,739 of 9,130 parameters are prunable, 4.3 % are outside the sparsity.")

    def test_terminal_shows_the_same(self) -> None:
        console = Console(width=140, file=io.StringIO())
        for sheet in prune_sheets(self.rows):
            console.print(sheet)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        for figure in ("76.0 ± 1.4", "71.0 ± 1.4", "68.0 †1", "12 / 12", "6 k", "distilled|30"):
            assert figure in text

    def test_a_barrier_at_another_sparsity_says_so(self) -> None:
        rows = [result(error_barrier=0.02), result("distilled", target_sparsity=0.8, error_barrier=0.03)]
        assert "3.0 (at 80 %)" in markdown(rows)

    def test_a_barrier_of_the_dense_network_alone_is_headed_by_no_sparsity(self) -> None:
        lines = markdown([dense(error_barrier=0.02), result()]).splitlines()
        assert lines[2].endswith(" | Barrier % |")
        assert [line.split(" | ")[-1] for line in lines[4:6]] == ["2.0 (dense) |", "- |"]

    def test_nothing_is_said_to_be_nothing(self) -> None:
        console = Console(width=80, file=io.StringIO())
        [sheet] = prune_sheets([])
        console.print(sheet)
        assert console.file.getvalue().strip() == "Nothing of the comparison is finished yet."  # type: ignore[attr-defined]

    def test_one_table_a_network(self) -> None:
        rows = [result(), result(network="vgg11", target_sparsity=0.5)]
        assert len(prune_sheets(rows)) == 2
        assert "**vgg11**" in markdown(rows)

    @pytest.mark.parametrize(
        "rows",
        [
            [],
            [result()],
            [dense()],
            [result("random", accuracy=None, status="collapsed", mask_processor_seconds=None)],
            [result("[red]", seed) for seed in range(2)],
            comparison(seeds=1),
        ],
    )
    def test_works_on_what_there_is(self, rows: list[dict]) -> None:
        console = Console(width=60, file=io.StringIO())
        for sheet in prune_sheets(rows):
            console.print(sheet)
        assert all(row["method"] in markdown(rows) for row in rows)

    def test_sparsity_labels(self) -> None:
        assert [sparsity_label(value) for value in (0.5, 0.488, 0.892626)] == ["50 %", "48.8 %", "89.26 %"]
