"""How the trials of a study ended, in words."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from search.study.failures import shortened
from search.study.trials import is_rejected, is_stopped_early, reason_of

_STATES = {TrialState.FAIL: "failed", TrialState.PRUNED: "collapsed", TrialState.COMPLETE: "finished"}
_STOPPED, _REJECTED, _UNFINISHED = "stopped early as others were better", "rejected before training", "not finished"
_TO_NOTHING = ("failed", "collapsed")
_KINDS = (*_TO_NOTHING, _STOPPED, _REJECTED, "finished", _UNFINISHED)


def what_became_of(trials: Sequence[FrozenTrial]) -> str:
    """Return how many trials ended in which way, and the last reason of those that came to nothing."""
    kinds: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        kinds.setdefault(_kind(trial), []).append(trial)
    told = [
        f"{len(kinds[kind])} {kind}" + (f", the last with: {_reason(kinds[kind][-1])}" if kind in _TO_NOTHING else "")
        for kind in _KINDS
        if kind in kinds
    ]
    return "; ".join(told) or "there was none"


def _kind(trial: FrozenTrial) -> str:
    if is_rejected(trial):
        return _REJECTED
    return _STOPPED if is_stopped_early(trial) else _STATES.get(trial.state, _UNFINISHED)


def _reason(trial: FrozenTrial) -> str:
    return shortened(reason_of(trial) or "no reason was given")
