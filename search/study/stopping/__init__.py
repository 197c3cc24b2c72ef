"""Early stopping: which trials are not worth their next round.

Trials are compared within their source and within what they score by, never across: the scales differ. Everything is
kept in memory, and an observation costs O(log n) for one objective; after a restart all are told again.
"""

from __future__ import annotations

from collections.abc import Callable

from dp_core.errors import UserError
from search.config.models import EarlyStoppingSection
from search.study.stopping.halving import RungEnds, SuccessiveHalving
from search.study.stopping.median import MedianStopping
from search.study.stopping.observation import EarlyStopping, Observation
from search.study.stopping.pareto_rung import ParetoRung
from search.study.stopping.rung import Rung, SortedRung

__all__ = ["EarlyStopping", "Observation", "build_stopping", "check_stopping"]


def check_stopping(settings: EarlyStoppingSection, objectives: int) -> None:
    """Check that the method can compare trials of so many objectives.

    Raises:
        UserError: it is `median`, and there are several.
    """
    if settings.method == "median" and objectives > 1:
        raise UserError(
            f"'search.early_stopping.method: median' compares trials by one objective, and 'search.objectives' names "
            f"{objectives}; with several it can be 'successive_halving' or 'none'."
        )


def build_stopping(settings: EarlyStoppingSection, startup_trials: int, objectives: int) -> EarlyStopping:
    """Return what decides which trials stop early.

    The method decides within a rung. At the end of a rung of the fidelity ladder one trial in `reduction_factor` goes
    on, whatever the method, `none` included: a ladder that all climb to the top would only make them dearer.

    Args:
        settings: `search.early_stopping`.
        startup_trials: finished trials before the median stops any.
        objectives: number of objectives.

    Raises:
        UserError: see `check_stopping`.
    """
    check_stopping(settings, objectives)
    new_rung = _rung_maker(settings.reduction_factor, objectives)
    ends = RungEnds(new_rung)
    if settings.method == "successive_halving":
        return _Any(SuccessiveHalving(settings.first_round, settings.reduction_factor, new_rung), ends)
    if settings.method == "median":
        return _Any(MedianStopping(startup_trials, settings.first_round), ends)
    return ends


def _rung_maker(reduction_factor: int, objectives: int) -> Callable[[], Rung]:
    if objectives == 1:
        return lambda: SortedRung(reduction_factor)
    return lambda: ParetoRung(objectives, reduction_factor)


class _Any:
    """Stops what one of its parts would stop; all of them hear of everything."""

    def __init__(self, *parts: EarlyStopping) -> None:
        self._parts = parts

    def hopeless(self, observation: Observation) -> bool:
        """See EarlyStopping."""
        verdicts = [part.hopeless(observation) for part in self._parts]
        return any(verdicts)

    def finished(self, trial: int) -> None:
        """See EarlyStopping."""
        for part in self._parts:
            part.finished(trial)
