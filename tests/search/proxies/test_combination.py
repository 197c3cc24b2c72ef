from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_core.errors import UserError
from search.proxies.combination import fitted, rank_average, ridge_by_press


class TestRankAverage:
    def test_by_hand(self) -> None:
        # Ranks 1, 2.5, 2.5, 4 and 4, 3, 2, 1: normalised means (r - 1/2) / 4.
        found = rank_average({"a": np.array([0.0, 5, 5, 9]), "b": np.array([8.0, 7, 6, 5])})
        assert found == pytest.approx([(0.125 + 0.875) / 2, (0.5 + 0.625) / 2, (0.5 + 0.375) / 2, (0.875 + 0.125) / 2])

    def test_a_row_with_a_gap_is_out_of_all_ranks(self) -> None:
        with_gap = rank_average({"a": np.array([1.0, 9, 2, 3]), "b": np.array([1.0, math.nan, 2, 3])})
        assert with_gap == pytest.approx([1 / 6, math.nan, 3 / 6, 5 / 6], nan_ok=True)

    def test_only_order_counts(self) -> None:
        first, second = np.random.default_rng(0).normal(size=(2, 20))
        expected = rank_average({"a": first, "b": second})
        assert rank_average({"a": np.exp(first), "b": 7 * second - 2}) == pytest.approx(expected)

    def test_nothing_to_combine(self) -> None:
        with pytest.raises(UserError, match="at least one proxy"):
            rank_average({})

    def test_nothing_to_rank(self) -> None:
        assert np.isnan(rank_average({"a": np.array([math.nan, math.nan])})).all()


class TestRidgeByPress:
    def test_the_solution_is_that_of_the_normal_equations(self) -> None:
        random = np.random.default_rng(0)
        features, targets = random.normal(1, 2, size=(12, 3)), random.normal(5, 1, size=12)
        found = ridge_by_press(features, targets)
        assert _solve(features, targets, found.penalty) == pytest.approx([found.intercept, *found.coefficients])

    @pytest.mark.parametrize(("noise", "columns"), [(0.01, 3), (1.0, 3), (5.0, 3), (1.0, 30)])
    def test_the_penalty_is_that_of_leaving_out_one_by_one(self, noise: float, columns: int) -> None:
        random = np.random.default_rng(1)
        features = random.normal(size=(9, columns))
        targets = features[:, 0] + noise * random.normal(size=9)
        penalties = 9 * 10.0 ** np.linspace(-3, 2, 26)
        errors = [_left_out_error(features, targets, penalty) for penalty in penalties]
        assert ridge_by_press(features, targets).penalty == pytest.approx(penalties[np.argmin(errors)])

    def test_noise_is_shrunk_more_than_signal(self) -> None:
        random = np.random.default_rng(2)
        features, noise = random.normal(size=(40, 5)), random.normal(size=40)
        signal = features @ np.ones(5)
        assert ridge_by_press(features, signal).penalty < ridge_by_press(features, noise).penalty


class TestFitted:
    def test_finds_the_mixture(self) -> None:
        random = np.random.default_rng(0)
        first, second, third = random.normal(size=(3, 200))
        truth = 2 * first - second
        found = fitted({"a": first, "b": second, "c": third}, truth, labelled=30, folds=5, seed=0)
        assert scipy.stats.spearmanr(found, truth).statistic > 0.97
        average = rank_average({"a": first, "b": second, "c": third})
        assert scipy.stats.spearmanr(average, truth).statistic < 0.5

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 24), st.floats(-5, 5), st.integers(0, 100))
    def test_no_architecture_sees_its_own_label(self, row: int, label: float, seed: int) -> None:
        columns, truth = _noisy(25)
        changed = truth.copy()
        changed[row] = label
        before, after = (fitted(columns, labels, 15, 5, seed) for labels in (truth, changed))
        assert after[row] == before[row]

    def test_no_architecture_sees_the_labels_of_its_fold(self) -> None:
        columns, truth = _noisy(12)
        influenced = []
        for row in range(12):
            changed = truth.copy()
            changed[row] += 3
            influenced.append(fitted(columns, changed, 6, 2, 4) != fitted(columns, truth, 6, 2, 4))
        # With 6 of 12 labelled in 2 folds every label of the other fold is used, and none of one's own.
        sees = np.array(influenced)
        assert (sees.sum(axis=0) == 6).all()
        assert (sees == sees.T).all()
        assert not sees.diagonal().any()

    def test_a_prediction_needs_few_labels(self) -> None:
        columns, truth = _noisy(40)
        influences = np.zeros(40)
        for row in range(40):
            changed = truth.copy()
            changed[row] += 3
            influences += fitted(columns, changed, 7, 4, 1) != fitted(columns, truth, 7, 4, 1)
        assert (influences == 7).all()

    def test_order_of_scores_and_unit_of_truth(self) -> None:
        columns, truth = _noisy(30)
        found = fitted(columns, truth, 20, 3, 0)
        stretched = {name: np.exp(values) for name, values in columns.items()}
        assert fitted(stretched, truth, 20, 3, 0) == pytest.approx(found)
        assert fitted(columns, 100 * truth - 7, 20, 3, 0) == pytest.approx(100 * found - 7)

    def test_gaps_are_not_predicted_and_change_nothing_else(self) -> None:
        columns, truth = _noisy(30)
        padded = {name: np.insert(values, 4, 50.0) for name, values in columns.items()}
        padded["b"][4] = math.nan
        with_gap = fitted(padded, np.insert(truth, 4, 0.3), 20, 3, 0)
        assert math.isnan(with_gap[4])
        assert np.delete(with_gap, 4) == pytest.approx(fitted(columns, truth, 20, 3, 0))

    def test_a_constant_column_is_ignored(self) -> None:
        columns, truth = _noisy(30)
        with_constant = fitted(columns | {"c": np.full(30, 2.0)}, truth, 20, 3, 0)
        assert with_constant == pytest.approx(fitted(columns, truth, 20, 3, 0))

    def test_useless_proxies_gain_nothing(self) -> None:
        found = []
        for seed in range(40):
            first, second, truth = np.random.default_rng(seed).normal(size=(3, 60))
            prediction = fitted({"a": first, "b": second}, truth, 20, 5, seed)
            found.append(scipy.stats.spearmanr(prediction, truth).statistic)
        assert -0.25 < np.mean(found) < 0.05

    @pytest.mark.parametrize(
        ("labelled", "folds", "message"),
        [
            (4, 5, "can have 5 to 16 labelled, but labelled is 4"),
            (17, 5, "can have 5 to 16 labelled, but labelled is 17"),
            (10, 1, "at least 2 folds, but folds is 1"),
        ],
    )
    def test_mistakes(self, labelled: int, folds: int, message: str) -> None:
        columns, truth = _noisy(20)
        with pytest.raises(UserError, match=message):
            fitted(columns, truth, labelled, folds, 0)

    def test_all_that_are_outside_a_fold_can_be_labelled(self) -> None:
        columns, truth = _noisy(21)  # the largest of 5 folds has 5
        assert np.isfinite(fitted(columns, truth, 16, 5, 0)).all()

    def test_too_few_architectures(self) -> None:
        columns, truth = _noisy(8)
        with pytest.raises(UserError, match="only 8 have the truth"):
            fitted(columns, truth, 5, 2, 0)


def _noisy(architectures: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    first, second, noise = np.random.default_rng(7).normal(size=(3, architectures))
    return {"a": first, "b": second}, first + noise


def _solve(features: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Ridge with a free intercept, by least squares on rows added for the penalty: [1 + P]."""
    rows, columns = features.shape
    design = np.block([[np.ones((rows, 1)), features], [np.zeros((columns, 1)), np.sqrt(penalty) * np.eye(columns)]])
    return np.linalg.lstsq(design, np.append(targets, np.zeros(columns)))[0]


def _left_out_error(features: np.ndarray, targets: np.ndarray, penalty: float) -> float:
    error = 0.0
    for row in range(len(targets)):
        solution = _solve(np.delete(features, row, axis=0), np.delete(targets, row), penalty)
        error += (targets[row] - solution[0] - features[row] @ solution[1:]) ** 2
    return error
