"""How far a run is."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.bad_ends import BadEnds
from search.config.models import SearchConfig
from search.promotion import read_promotion
from search.requests import read_requests
from search.retrained_models import models_of
from search.retraining_plan import RetrainingPlan
from search.run_directory import RunDirectory
from search.run_record import config_of, read_run
from search.study.objectives import OBJECTIVES
from search.study.reading import trials_of
from search.study.trials import is_rejected, repeated_by


def status_of(run: RunDirectory) -> dict[str, Any]:
    """Return state, trials by state, best trial and retrained models of a run; reads only."""
    config = config_of(run, read_run(run), SearchConfig)
    known = trials_of(run, config)
    trials = [trial for trial in known if not is_rejected(trial)]
    repeated = sum(repeated_by(trial) is not None for trial in known)
    counts = {state.name: sum(trial.state == state for trial in trials) for state in TrialState}
    objective = OBJECTIVES[config.search.objectives[0]]
    best = _best([trial for trial in trials if _is_best_worthy(trial)], objective.maximised)
    names = _retrainings(run, config)
    models = set(models_of(run))
    ended = sum(counts[state] for state in ("COMPLETE", "PRUNED", "FAIL"))
    return {
        "run": str(run.path),
        "state": _state(run, ended >= config.search.trials or names is not None, names is not None and names <= models),
        "trials_wanted": config.search.trials,
        "trials_finished": counts["COMPLETE"],
        "trials_stopped_early": counts["PRUNED"],
        "trials_failed": counts["FAIL"],
        "trials_running": counts["RUNNING"],
        "trials_rejected": len(known) - len(trials) - repeated,
        "trials_repeated": repeated,
        "best_trial": None if best is None else best.number,
        f"best_{objective.name}": None if best is None else best.values[0],
        "tickets": len(run.tickets()),
        "models": len(models if names is None else models & names),
        "models_wanted": _models_expected(config, counts) if names is None else len(names),
        "other_models": 0 if names is None else len(models - names),
        "came_to_nothing": len(list(BadEnds(run.bad_ends))),
    }


def _is_best_worthy(trial: FrozenTrial) -> bool:
    """Return whether a trial has finished and keeps to its constraints."""
    return trial.state == TrialState.COMPLETE and all(excess <= 0 for excess in trial.constraints.values())


def _best(finished: list[FrozenTrial], maximised: bool) -> FrozenTrial | None:
    """Return the trial with the best value of the first objective."""
    sign = 1 if maximised else -1
    return max(finished, key=lambda trial: sign * trial.values[0], default=None)


def _retrainings(run: RunDirectory, config: SearchConfig) -> set[str] | None:
    """Return the names of the retrainings that are wanted and may come to something; None while none is chosen yet."""
    promotion = read_promotion(run.promotion)
    if promotion is None:
        return None
    plan = RetrainingPlan.of(config.retrain)
    chosen = {name for number in promotion.left for name in plan.names(number)}
    asked = {name for request in read_requests(run) for name in request.names}
    return (chosen | asked) - BadEnds(run.bad_ends).retrainings()


def _models_expected(config: SearchConfig, counts: dict[str, int]) -> int:
    finished = counts["COMPLETE"]
    promoted = min(config.promote.top, finished or config.promote.top)
    left = max(finished + counts["PRUNED"] - promoted, 0) if finished else config.promote.audit
    return (promoted + min(config.promote.audit, left)) * config.retrain.seeds


def _state(run: RunDirectory, screened: bool, retrained: bool) -> str:
    if screened and retrained:
        return "finished"
    if not run.is_driven():
        return "stopped"
    return "retraining" if screened else "screening"
