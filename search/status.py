"""How far a run is."""

from __future__ import annotations

from typing import Any

from optuna.trial import TrialState

from search.config.models import SearchConfig
from search.run_directory import RunDirectory
from search.run_record import config_of, read_run
from search.study.record import read_trials


def status_of(run: RunDirectory) -> dict[str, Any]:
    """Return state, trials by state, best trial and retrained models of a run; reads only."""
    config = config_of(run, read_run(run), SearchConfig)
    trials = read_trials(run.journal)
    counts = {state.name: sum(trial.state == state for trial in trials) for state in TrialState}
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    best = max(finished, key=lambda trial: trial.value or 0.0, default=None)
    wanted = min(config.promote.top, len(finished) or config.promote.top) * config.retrain.seeds
    ended = sum(counts[state] for state in ("COMPLETE", "PRUNED", "FAIL"))
    return {
        "run": str(run.path),
        "state": _state(run, ended >= config.search.trials, len(run.models()) >= wanted),
        "trials_wanted": config.search.trials,
        "trials_finished": counts["COMPLETE"],
        "trials_stopped_early": counts["PRUNED"],
        "trials_failed": counts["FAIL"],
        "trials_running": counts["RUNNING"],
        "best_trial": None if best is None else best.number,
        "best_score": None if best is None else best.value,
        "tickets": len(run.tickets()),
        "models": len(run.models()),
        "models_wanted": wanted,
    }


def _state(run: RunDirectory, screened: bool, retrained: bool) -> str:
    if screened and retrained:
        return "finished"
    if not run.is_driven():
        return "stopped"
    return "retraining" if screened else "screening"
