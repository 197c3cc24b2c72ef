"""Optuna's samplers, as they are."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from search.study.sampling.kinds import Part


def random(part: Part) -> BaseSampler:
    """Return uniform random search."""
    return RandomSampler(seed=part.optuna_seed)


def tpe(part: Part) -> BaseSampler:
    """Return Optuna's TPE on the whole history; the cost of a suggestion grows with the trials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # `group` models the parameters of each branch of a conditional space together.
        return TPESampler(n_startup_trials=part.startup_trials, seed=part.optuna_seed, multivariate=True, group=True)


def gp(part: Part) -> BaseSampler:
    """Return Optuna's Gaussian process; the cost of a suggestion grows with the cube of the trials."""
    return GPSampler(seed=part.optuna_seed, n_startup_trials=part.startup_trials, warn_independent_sampling=False)
