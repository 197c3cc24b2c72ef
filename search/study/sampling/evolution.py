"""CMA-ES for the trials of one source, on a run that may have been resumed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence

from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.sampling.kinds import Part

NEEDED = 10
"""Fewest earlier trials that CMA-ES can start from: it takes the best tenth of them."""


def cma_es(part: Part) -> BaseSampler:
    """Return Optuna's CMA-ES (Hansen 2016), started from the known trials of the source where there are enough.

    Its own state is pickled by Optuna and lives no longer than the driver, as no pickle is ever loaded from a file: on
    a resumed run it begins from what the known trials say of the promising region (Nomura et al. 2021, WS-CMA-ES).
    """
    known = [_numbers_only(trial) for trial in part.known if trial.state == TrialState.COMPLETE]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _CmaEs(
            seed=part.optuna_seed,
            n_startup_trials=part.startup_trials,
            warn_independent_sampling=False,
            source_trials=known if len(known) >= NEEDED else None,
        )


def is_installed() -> bool:
    """Return whether the package that Optuna's CMA-ES is built on can be imported."""
    return importlib.util.find_spec("cmaes") is not None


class _CmaEs(CmaEsSampler):
    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        # Optuna's would say after every trial with constraints that it makes no use of them.
        self._independent_sampler.after_trial(study, trial, state, values)


def _numbers_only(trial: FrozenTrial) -> FrozenTrial:
    """Return the trial without its choices and single values, which CMA-ES does not search."""
    distributions = {
        name: distribution
        for name, distribution in trial.distributions.items()
        if not isinstance(distribution, CategoricalDistribution) and not distribution.single()
    }
    params = {name: trial.params[name] for name in distributions}
    return create_trial(value=trial.value, params=params, distributions=distributions)
