"""How the trials of a study ended, in words."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from search.study.failures import reasons_in_words
from search.study.trials import is_rejected, is_stopped_early, reason_of

_STATES = {TrialState.FAIL: "failed", TrialState.PRUNED: "collapsed", TrialState.COMPLETE: "finished"}
_STOPPED, _REJECTED, _UNFINISHED = "stopped early as others were better", "rejected before training", "not finished"
_TO_NOTHING = ("failed", "collapsed")
_KINDS = (*_TO_NOTHING, _STOPPED, _REJECTED, "finished", _UNFINISHED)


def what_became_of(trials: Sequence[FrozenTrial]) -> str:
    """Return how many trials ended in which way, and the reasons of those that came to nothing, the last one first."""
    kinds: dict[str, list[str]] = {}
    for trial in trials:
        kinds.setdefault(_kind(trial), []).append(_reason(trial))
    told = [
        f"{len(kinds[kind])} {kind}" + (f", {reasons_in_words(kinds[kind])}" if kind in _TO_NOTHING else "")
        for kind in _KINDS
        if kind in kinds
    ]
    return "; ".join(told) or "there was none"


def _kind(trial: FrozenTrial) -> str:
    if is_rejected(trial):
        return _REJECTED
    return _STOPPED if is_stopped_early(trial) else _STATES.get(trial.state, _UNFINISHED)


def _reason(trial: FrozenTrial) -> str:
    return " ".join((reason_of(trial) or "no reason was given").split()).rstrip(".")
