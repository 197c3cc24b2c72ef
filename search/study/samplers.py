"""Optuna's samplers and pruners by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler

from dp_core.seeds import derive_seed


def _tpe(seed: int, known_trials: int, startup_trials: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # `group` models the parameters of each branch of a conditional space together.
        return TPESampler(
            n_startup_trials=startup_trials,
            seed=_optuna_seed(seed, known_trials),
            multivariate=True,
            group=True,
        )


def _random(seed: int, known_trials: int, startup_trials: int) -> BaseSampler:
    return RandomSampler(seed=_optuna_seed(seed, known_trials))


def _qmc(seed: int, known_trials: int, startup_trials: int) -> BaseSampler:
    # Always the run's own seed: a quasi-random sequence goes on by the number of trials in the study.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return QMCSampler(
            seed=_optuna_seed(seed, 0),
            scramble=True,
            independent_sampler=_random(seed, known_trials, startup_trials),
            warn_independent_sampling=False,
        )


def _optuna_seed(seed: int, known_trials: int) -> int:
    # A resumed sampler that started from the run's seed would propose the first trials a second time.
    return derive_seed(seed, "sampler", known_trials) % 2**32


# A new sampler is one function and one line: it takes the run's seed, the number of trials the study already has, and
# the number of trials before a model takes over.
SAMPLERS: Mapping[str, Callable[[int, int, int], BaseSampler]] = {"tpe": _tpe, "random": _random, "qmc": _qmc}


def build_pruner(method: str, first_round: int, reduction_factor: int, startup_trials: int) -> BasePruner:
    """Return the pruner that decides which trials stop early; its only memory is the study."""
    if method == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=first_round, reduction_factor=reduction_factor)
    if method == "median":
        return MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=first_round)
    return NopPruner()
