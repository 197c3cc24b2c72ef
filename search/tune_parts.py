"""What Ray Tune asks of us: a searcher and a scheduler that only pass on what the study says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from optuna.trial import TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.study.record import StudyRecord

_ROW_KEYS = (
    "round",
    "score",
    "score_sem",
    "proxy_accuracy",
    "proxy_accuracy_sem",
    "proxy_loss",
    "replicates",
    "sparsity",
    "density",
    "parameters_left",
    "flops_dense",
    "flops_remaining",
    "image_gradients",
    "seconds",
)
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Mistake|Died|Diverged)\b")
_END_STATES = {"finished": TrialState.COMPLETE, "collapsed": TrialState.PRUNED, "diverged": TrialState.FAIL}


class _NotSaved:
    """Tune pickles its parts now and then to restore from; Winnow restores from the study instead."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StudySearcher(_NotSaved, Searcher):
    """Hands the study's proposals to Tune.

    Args:
        record: the study.
        resume_from: returns the checkpoint that a trial of this number goes on from, or None.
    """

    def __init__(self, record: StudyRecord, resume_from: Callable[[int], str | None]) -> None:
        super().__init__(metric="score", mode="max")
        self._record = record
        self._resume_from = resume_from

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the config of the next trial, or FINISHED."""
        proposal = self._record.propose()
        if proposal is None:
            return cast("dict[str, Any]", Searcher.FINISHED)  # a word, whatever Ray's annotation says
        return {
            "trial": proposal.number,
            "candidate": proposal.candidate,
            "resume_from": self._resume_from(proposal.number) if proposal.resumed else None,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the scheduler hears of every end first, and with its reason."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""


class StudyScheduler(_NotSaved, FIFOScheduler):
    """Writes every round and every end into the study, and stops a trial when the study's pruner says so.

    Args:
        record: the study.
        has_ticket: tells whether the ticket of a trial is in the run directory.
    """

    def __init__(self, record: StudyRecord, has_ticket: Callable[[int], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._record = record
        self._has_ticket = has_ticket

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record the round; stop the trial if it is not among the promising ones."""
        hopeless = self._record.report(trial.config["trial"], row_of(result))
        return str(TrialScheduler.STOP if hopeless else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Record the end: finished, collapsed, diverged, or stopped early."""
        number = trial.config["trial"]
        if result["status"] == "running":
            row = result["round"]
            self._record.finish(number, TrialState.PRUNED, f"stopped early after round {row}: others were better")
        else:
            self._record.report(number, row_of(result))
            state, reason = _END_STATES[result["status"]], result["reason"]
            if state == TrialState.COMPLETE and not self._has_ticket(number):
                # Tune only logs what goes wrong while a checkpoint is copied: a full disk, say.
                state, reason = TrialState.FAIL, "its ticket could not be written to the run directory"
            self._record.finish(number, state, reason)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Record the failure if it is final; Tune also calls this for a trial that it is about to take up again."""
        if not trial.should_recover():
            self._record.finish(trial.config["trial"], TrialState.FAIL, failure_of(trial))

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Record that the trial was dropped before it ran."""
        self._record.finish(trial.config["trial"], TrialState.FAIL, "removed before it ran")


def row_of(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the study keeps of a trial's report."""
    return {key: result[key] for key in _ROW_KEYS}


def failure_of(trial: Trial) -> str:
    """Return the name and the message of what the trial raised, from the traceback that Tune has written beside it."""
    try:
        lines = Path(trial.error_file).read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, TypeError):  # None: the trial left no traceback
        lines = []
    named = [number for number, line in enumerate(lines) if _EXCEPTION.match(line)]
    if not named:
        return "the trial failed without a message"
    return " ".join(" ".join(lines[named[-1] :]).split())[:500]
