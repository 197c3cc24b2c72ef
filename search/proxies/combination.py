"""Several proxies made into one: the mean of their ranks, or a ridge regression fitted to a few trained architectures.

An architecture for which any of the columns has no finite value gets NaN, and takes no part in the ranks of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from dp_core.errors import UserError

FEWEST_LABELLED = 5
"""Below this many trained architectures nothing is fitted."""

_RELATIVE_PENALTIES = np.logspace(2, -3, 26)
"""Penalties to choose from, for each labelled architecture; of equally good ones the strongest, so it comes first."""


@dataclass(frozen=True, eq=False)
class Ridge:
    """A linear model, features [N, P] → intercept + features @ coefficients [P], and the penalty it was fitted with."""

    coefficients: NDArray[np.float64]
    intercept: float
    penalty: float

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the predictions [N] for features [N, P]."""
        prediction: NDArray[np.float64] = self.intercept + features @ self.coefficients
        return prediction


def rank_average(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean over proxies of normalised ranks, each (rank - 1/2) / N in (0, 1); ties have their mean rank.

    Args:
        columns: scores by proxy, each [N], higher is better; no labels are looked at.

    Raises:
        UserError: there are no columns.
    """
    table = _table(columns)
    complete = np.isfinite(table).all(axis=1)
    ranks = rankdata(table[complete], axis=0)
    result = np.full(len(table), np.nan)
    result[complete] = ((ranks - 0.5) / max(len(ranks), 1)).mean(axis=1)
    return result


def fitted(
    columns: Mapping[str, NDArray[np.float64]], truth: NDArray[np.float64], labelled: int, folds: int, seed: int
) -> NDArray[np.float64]:
    """Return the truth [N] of each architecture as predicted by a ridge regression on all proxies.

    What is not leaked: the architectures are split into random folds, and all of one fold are predicted by one model
    that was fitted to `labelled` architectures drawn at random outside it. An architecture's own label, and those of
    its whole fold, reach neither the model that predicts it nor the choice of that model's penalty, which is by
    leave-one-out error among the labelled ones. What all architectures share is label-free: each proxy's scores are
    ranked over all of them and the ranks turned into normal scores, the normal quantiles of (rank - 3/8) / (N + 1/4)
    (Blom, "Statistical Estimates and Transformed Beta-Variables", 1958), so only their order counts. The truth stays in
    its own unit: the models' predictions are then on one scale, and no label is ranked among labels nobody has.

    Predictions of different folds come from different models and are pooled: correlations of them with the truth
    include how far `folds` small samples differ, and for useless proxies tend to be below 0, since a model that falls
    back on its labels' mean predicts high for a fold that the high labels were not drawn from.

    Args:
        columns: scores by proxy, each [N].
        truth: [N]; an architecture without a finite truth is not predicted, it gets NaN.
        labelled: trained architectures that each model may see.
        folds: at least 2.
        seed: of the folds and of the labelled architectures.

    Raises:
        UserError: there are no columns, fewer than 2 folds, fewer than 5 labelled, or more than there are outside the
            largest fold.
    """
    table = _table(columns)
    usable = np.isfinite(table).all(axis=1) & np.isfinite(truth)
    _check(labelled, folds, int(usable.sum()))
    features, targets = _normal_scores(table[usable]), truth[usable]
    random = np.random.default_rng(seed)
    predictions = np.empty(len(targets))
    for fold in np.array_split(random.permutation(len(targets)), folds):
        outside = np.setdiff1d(np.arange(len(targets)), fold)
        chosen = random.choice(outside, labelled, replace=False)
        predictions[fold] = ridge_by_press(features[chosen], targets[chosen]).predict(features[fold])
    result = np.full(len(table), np.nan)
    result[usable] = predictions
    return result


def ridge_by_press(features: NDArray[np.float64], targets: NDArray[np.float64]) -> Ridge:
    """Fit ridge regression with a free intercept, its penalty that of the least leave-one-out squared error.

    For a penalty p and centred features U S Vᵀ, the i-th residual without its own label is e_i / (1 - h_i), with
    h_i = 1/n + Σ_k U_ik² s_k² / (s_k² + p): PRESS, Allen, "The Relationship between Variable Selection and Data
    Augmentation and a Method for Prediction" (1974).

    Args:
        features: [n, P].
        targets: [n].
    """
    count = len(targets)
    centre, mean = features.mean(axis=0), targets.mean()
    left, singular, right = np.linalg.svd(features - centre, full_matrices=False)
    projected = left.T @ (targets - mean)
    penalties = count * _RELATIVE_PENALTIES
    kept = singular**2 / (singular**2 + penalties[:, None])
    residuals = (targets - mean) - (kept * projected) @ left.T
    leverages = 1 / count + kept @ (left**2).T
    press = ((residuals / (1 - leverages)) ** 2).sum(axis=1)
    penalty = float(penalties[np.argmin(press)])
    coefficients = right.T @ (singular / (singular**2 + penalty) * projected)
    return Ridge(coefficients, float(mean - centre @ coefficients), penalty)


def _table(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    if not columns:
        raise UserError("A combination needs at least one proxy, but none is named.")
    return np.column_stack([np.asarray(column, float) for column in columns.values()])


def _normal_scores(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rank-based normal scores of each column, with mean 0 and variance 1, or all 0 for a constant column."""
    scores: NDArray[np.float64] = ndtri((rankdata(table, axis=0) - 0.375) / (len(table) + 0.25))
    scores -= scores.mean(axis=0)
    spread = scores.std(axis=0)
    standardised: NDArray[np.float64] = np.divide(scores, spread, out=np.zeros_like(scores), where=spread > 0)
    return standardised


def _check(labelled: int, folds: int, architectures: int) -> None:
    if folds < 2:
        raise UserError(f"A fitted combination needs at least 2 folds, but folds is {folds}.")
    most = architectures - -(-architectures // folds)
    if most < FEWEST_LABELLED:
        raise UserError(
            f"A fitted combination needs {FEWEST_LABELLED} labelled architectures outside each of its {folds} folds, "
            f"but only {architectures} have the truth and all of its proxies' scores."
        )
    if not FEWEST_LABELLED <= labelled <= most:
        raise UserError(
            f"A fitted combination of {architectures} architectures in {folds} folds can have {FEWEST_LABELLED} to "
            f"{most} labelled, but labelled is {labelled}."
        )
