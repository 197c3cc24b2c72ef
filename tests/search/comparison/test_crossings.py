from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_core.errors import UserError
from search.comparison.best import best_by_cost
from search.comparison.budgets import affordable, budgets_by_family
from search.comparison.crossings import crossings
from search.comparison.crossings_section import crossings_section
from tests.search.comparison.result_rows import comparison, dense, result

Curve = dict[int, list[float | None]]


def curve(family: str, points: Curve, sparsity: float = 0.9) -> list[dict]:
    """Rows of a family: for each cost the accuracies of seeds 0, 1, …"""
    return [
        result(f"{family}-{cost}", seed, value, family=family, mask_image_gradients=cost, target_sparsity=sparsity)
        for cost, values in points.items()
        for seed, value in enumerate(values)
    ]


class TestCrossings:
    def test_lines_cross_where_algebra_says(self) -> None:
        """Over log10 cost from 3 to 5, 0.60 + 0.05 u meets 0.54 + 0.10 u at u = 1.2, which is 10^4.2."""
        rows = curve("distilled", {10**3: [0.60], 10**5: [0.70]}) + curve("imp", {10**3: [0.54], 10**5: [0.74]})
        [found] = crossings(rows, "distilled", "imp")
        assert found.image_gradients == pytest.approx(10**4.2)
        assert (found.times, found.ahead, found.seeds) == (1, "distilled", 1)
        assert (found.low, found.high, found.share) == (None, None, None)

    def test_only_the_common_range_counts(self) -> None:
        """The lines would meet at 10^4.2, but real data were tried up to 10^4 only."""
        rows = curve("distilled", {10**3: [0.60], 10**5: [0.70]}) + curve("imp", {10**3: [0.54], 10**4: [0.64]})
        [found] = crossings(rows, "imp", "distilled")
        assert (found.image_gradients, found.times, found.ahead) == (None, 0, "distilled")
        assert found.cheapest == pytest.approx(10**3)
        assert found.dearest == pytest.approx(10**4)

    def test_budgets_between_the_others_are_interpolated(self) -> None:
        """Knot at 10^4 on one side only: 0.5 → 0.7 → 0.7 against 0.6 throughout meets halfway to it, at 10^3.5."""
        rows = curve("imp", {10**3: [0.5], 10**4: [0.7], 10**5: [0.7]}) + curve("snip", {10**3: [0.6], 10**5: [0.6]})
        assert crossings(rows, "imp", "snip")[0].image_gradients == pytest.approx(10**3.5)

    def test_interval_and_share_with_two_seeds(self) -> None:
        """Draws of seed 0 alone cross lowest, of seed 1 alone highest, each a quarter of all; mixed ones between."""
        rows = curve("imp", {10**3: [0.55, 0.45], 10**5: [0.85, 0.75]}) + curve(
            "snip", {10**3: [0.6] * 2, 10**5: [0.6] * 2}
        )
        [found] = crossings(rows, "snip", "imp")
        # Differences at 10^3 and 10^5: -0.05 → 0.25 crosses after 1/6 of two decades; -0.15 → 0.15 after 1/2.
        assert found.low == pytest.approx(10 ** (3 + 2 / 6))
        assert found.high == pytest.approx(10**4)
        assert found.image_gradients == pytest.approx(10 ** (3 + 2 / 3))  # -0.10 → 0.20 after 1/3
        assert (found.share, found.seeds) == (1.0, 2)

    def test_share_of_draws_that_cross(self) -> None:
        """Seed 1 never crosses, the mean does not either: only draws of seed 0 alone do, (1/2)² of them."""
        rows = curve("imp", {10**3: [0.5, 0.2], 10**5: [0.7, 0.4]}) + curve(
            "snip", {10**3: [0.6] * 2, 10**5: [0.6] * 2}
        )
        [found] = crossings(rows, "imp", "snip")
        assert (found.image_gradients, found.low, found.ahead) == (None, None, "snip")
        assert found.share == pytest.approx(0.25, abs=0.03)  # 3 standard errors of 2,000 draws

    def test_two_crossings_have_no_place(self) -> None:
        rows = curve("imp", {10: [0.5], 100: [0.7], 1000: [0.5]}) + curve("snip", {10: [0.6], 1000: [0.6]})
        [found] = crossings(rows, "imp", "snip")
        assert (found.image_gradients, found.times, found.ahead) == (None, 2, "snip")

    def test_touching_and_equal_curves_do_not_cross(self) -> None:
        level = curve("snip", {10: [0.6], 1000: [0.6]})
        [touching] = crossings(curve("imp", {10: [0.5], 100: [0.6], 1000: [0.5]}) + level, "imp", "snip")
        assert (touching.times, touching.ahead) == (0, "snip")
        [equal] = crossings(curve("imp", {10: [0.6], 1000: [0.6]}) + level, "imp", "snip")
        assert (equal.times, equal.ahead) == (0, None)

    def test_a_crossing_at_a_budget_and_on_a_level_stretch(self) -> None:
        level = curve("snip", {10: [0.6], 10_000: [0.6]})
        at_budget = curve("imp", {10: [0.5], 100: [0.6], 10_000: [0.7]}) + level
        assert crossings(at_budget, "imp", "snip")[0].image_gradients == pytest.approx(100)
        stretch = curve("imp", {10: [0.5], 100: [0.6], 1000: [0.6], 10_000: [0.7]}) + level
        assert crossings(stretch, "imp", "snip")[0].image_gradients == pytest.approx(10**2.5)

    def test_only_seeds_that_every_budget_has(self) -> None:
        rows = curve("imp", {10: [0.5, 0.9, None], 1000: [0.7, None, 0.1]}) + curve(
            "snip", {10: [0.6] * 3, 1000: [0.6] * 3}
        )
        [found] = crossings(rows, "imp", "snip")
        assert found.seeds == 1
        assert found.image_gradients == pytest.approx(100)

    def test_nothing_in_common_is_no_crossing(self) -> None:
        apart = curve("imp", {10: [0.5], 20: [0.6]}) + curve("snip", {100: [0.5], 200: [0.6]})
        [found] = crossings(apart, "imp", "snip")
        assert (found.image_gradients, found.cheapest, found.seeds) == (None, None, 1)
        assert "no cost in common" in crossings_section(apart)
        strangers = curve("imp", {10: [0.5], 20: [0.6]}) + curve("snip", {10: [None, 0.5], 20: [None, 0.6]})
        assert crossings(strangers, "imp", "snip")[0].seeds == 0
        assert "no seed in common" in crossings_section(strangers)

    def test_an_unknown_family_is_told(self) -> None:
        with pytest.raises(UserError, match=r"no family 'inp'\. Did you mean 'imp'"):
            crossings([result()], "imp", "inp")

    @given(
        st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)), min_size=2, max_size=5),
        st.floats(0.5, 50),
    )
    def test_order_of_families_and_unit_of_cost_do_not_matter(
        self, points: list[tuple[float, float]], unit: float
    ) -> None:
        def rows(scale: float) -> list[dict]:
            costs = [scale * 10**number for number in range(len(points))]
            first = {cost: [one] for cost, (one, _) in zip(costs, points, strict=True)}
            second = {cost: [other] for cost, (_, other) in zip(costs, points, strict=True)}
            return curve("imp", first) + curve("snip", second)  # type: ignore[arg-type]

        [forward], [back] = (crossings(rows(1), *names) for names in (("imp", "snip"), ("snip", "imp")))
        [scaled] = crossings(rows(unit), "imp", "snip")
        assert (forward.times, forward.ahead) == (back.times, back.ahead) == (scaled.times, scaled.ahead)
        if forward.image_gradients is not None:
            assert back.image_gradients == pytest.approx(forward.image_gradients)
            assert scaled.image_gradients == pytest.approx(unit * forward.image_gradients)
            assert forward.cheapest is not None
            assert forward.dearest is not None
            assert forward.cheapest - 1e-9 <= forward.image_gradients <= forward.dearest * (1 + 1e-9)


class TestCrossingsTable:
    def test_says_where_who_is_ahead_and_that_seeds_are_few(self) -> None:
        text = crossings_section(comparison(seeds=3, sparsities=(0.9,)))
        lines = text.splitlines()
        assert [line.split(" | ")[2] for line in lines[2:5]] == ["imp, distilled", "imp, subset", "distilled, subset"]
        assert "distilled below, imp above" in lines[2]
        assert "distilled from 12 k to 400 k" in lines[4]
        assert "With 3 seeds a bootstrap has 10 different draws only" in text  # C(5, 3)

    def test_seeds_that_are_left_out_are_told(self) -> None:
        level = curve("snip", {10: [0.6] * 3, 1000: [0.6] * 3})
        lost = curve("imp", {10: [0.5] * 3, 1000: [0.7, None, 0.7]})
        assert crossings_section(lost + level).splitlines()[2].split(" | ")[-2] == "2 of 3"
        whole = curve("imp", {10: [0.5] * 3, 1000: [0.7] * 3})
        assert crossings_section(whole + level).splitlines()[2].split(" | ")[-2] == "3"

    def test_is_the_same_every_time(self) -> None:
        rows = comparison()
        assert crossings_section(rows) == crossings_section(list(rows))

    @pytest.mark.parametrize("rows", [[], [result()], [dense()], [result(accuracy=None)]])
    def test_empty_without_two_curves(self, rows: list[dict]) -> None:
        assert crossings_section(rows) == ""


class TestBudgets:
    def test_methods_of_one_cost_are_chosen_by_validation(self) -> None:
        rows = [
            result("imp-a", 0, 0.9, family="imp", validation_accuracy=0.5),
            result("imp-b", 0, 0.6, family="imp", validation_accuracy=0.7),
        ]
        assert [budget.method for budget in budgets_by_family(rows)["imp"]] == ["imp-b"]

    def test_costs_are_means_over_seeds_with_a_ticket(self) -> None:
        rows = [
            result("imp", 0, 0.6, mask_image_gradients=100),
            result("imp", 1, None, mask_image_gradients=300, status="diverged"),  # a ticket that could not be trained
            result("imp", 2, None, mask_image_gradients=None, status="collapsed"),
        ]
        [budget] = budgets_by_family(rows)["imp"]
        assert (budget.image_gradients, budget.accuracies) == (200, {0: 0.6})

    def test_affordable_interpolates_and_then_stays(self) -> None:
        found = budgets_by_family(curve("imp", {100: [0.5, 0.3], 10_000: [0.7, None]}))["imp"]
        assert affordable(found, 50) == {}
        assert affordable(found, 100) == {0: 0.5, 1: 0.3}
        assert affordable(found, 1000) == {0: pytest.approx(0.6)}
        assert affordable(found, 10**6) == {0: 0.7}


class TestBestByCost:
    def test_margin_is_paired(self) -> None:
        """At 1,000: differences 0.01 and 0.03, mean 0.02, s = 0.0141421, t(0.975, 1) = 12.7062, half width 0.12706."""
        rows = curve("distilled", {1000: [0.61, 0.65]}) + curve("imp", {1000: [0.60, 0.62]})
        line = best_by_cost(rows).splitlines()[2]
        assert line == "| convnet | 90 % | 1 k | distilled | 63.0 | imp | +2.0 [-10.7, +14.7] | 2 |"

    def test_costs_that_are_nearly_equal_are_one(self) -> None:
        rows = curve("distilled", {1000: [0.61], 2000: [0.62]}) + curve("imp", {1050: [0.60]})
        assert [line.split(" | ")[2] for line in best_by_cost(rows).splitlines()[2:4]] == ["1.05 k", "2 k"]

    def test_a_free_mask_may_be_best(self) -> None:
        rows = curve("imp", {1000: [0.6]}) + curve("random", {0: [0.7]})
        assert "| random | 70.0 | imp | +10.0 | 1 |" in best_by_cost(rows)

    def test_a_family_that_lacks_seeds_says_so(self) -> None:
        rows = curve("imp", {1000: [0.7, None, 0.7]}) + curve("random", {0: [0.6, 0.6, 0.6]})
        text = best_by_cost(rows)
        assert "| imp (2 of 3 seeds) | 70.0 | random | +10.0 [+10.0, +10.0] | 2 |" in text
        assert "chosen after the fact" in text
        assert "interpolated over the logarithm" in text

    def test_a_family_alone(self) -> None:
        assert "| imp | 60.0 | - | - | 1 |" in best_by_cost(curve("imp", {1000: [0.6]}))

    @pytest.mark.parametrize("rows", [[], [dense()], curve("random", {0: [0.7]}), [result(accuracy=None)]])
    def test_empty_where_nothing_was_spent(self, rows: list[dict]) -> None:
        assert best_by_cost(rows) == ""


def test_interpolation_is_over_the_logarithm() -> None:
    found = budgets_by_family(curve("imp", {10: [0.2], 1000: [0.8]}))["imp"]
    for cost in (20, 100, 700):
        expected = np.interp(math.log(cost), [math.log(10), math.log(1000)], [0.2, 0.8])
        assert affordable(found, cost)[0] == pytest.approx(expected)
