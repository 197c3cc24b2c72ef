"""How far a search is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.config.models import SearchConfig
from search.config.objectives import OBJECTIVES, Objective
from search.pipeline.bad_ends import BadEnds
from search.pipeline.promotion_file import read_promotion
from search.pipeline.retrained_models import models_of
from search.pipeline.retraining_plan import RetrainingPlan
from search.pipeline.retraining_requests import read_requests
from search.pipeline.study_reading import trials_of
from search.runs.directory import RunDirectory
from search.runs.record import config_of, read_run
from search.study.trials import is_rejected, outcome_of, reason_of, repeated_by, scale_of

SCREENING = "screening"


def status_of(run: RunDirectory) -> dict[str, Any]:
    """Return state, trials by what became of them, the best of each scale and the retrained models; reads only.

    `trials_interrupted` began under a driver that was stopped or lost, and are taken up when the run is resumed.
    """
    config = config_of(run, read_run(run), SearchConfig)
    known = trials_of(run, config)
    trials = [trial for trial in known if not is_rejected(trial)]
    repeated = sum(repeated_by(trial) is not None for trial in known)
    ends = Counter(outcome_of(trial.state, reason_of(trial)) for trial in trials)
    begun = ends.pop("running", 0)
    names, models = _retrainings(run, config), set(models_of(run))
    # Once some are promoted no more trials are wanted: a space may have fewer candidates than there were to be trials.
    wanted = max(config.search.trials, len(trials)) if names is None else len(trials)
    state = run.state(finished=names is not None and names <= models and ends.total() >= wanted)
    running = min(begun, config.resources.concurrency) if state == SCREENING else 0
    return {
        "run": str(run.path),
        "state": state,
        "trials_wanted": wanted,
        "trials_finished": ends["finished"],
        "trials_stopped_early": ends["stopped early"],
        "trials_collapsed": ends["collapsed"],
        "trials_failed": ends["failed"],
        "trials_running": running,
        "trials_interrupted": begun - running,
        "trials_rejected": len(known) - len(trials) - repeated,
        "trials_repeated": repeated,
        "best": best_by_scale(trials, OBJECTIVES[config.search.objectives[0]]),
        "tickets": len(run.tickets()),
        "models_retrained": len(models if names is None else models & names),
        "models_wanted": _models_wanted(config, ends, wanted) if names is None else len(names),
        "other_models": 0 if names is None else len(models - names),
        "came_to_nothing": len(list(BadEnds(run.bad_ends))),
        "models": [str(model) for model in run.models()],
    }


def best_by_scale(trials: list[FrozenTrial], objective: Objective) -> list[dict[str, Any]]:
    """Return the best finished trial of each scale that keeps to its constraints, by the (first) objective.

    What was screened on other images, or longer, is on another scale: one best of all would compare what cannot be.
    """
    best: dict[str, FrozenTrial] = {}
    sign = 1 if objective.maximised else -1
    for trial in trials:
        scale = scale_of(trial)
        if scale is None or not _is_best_worthy(trial):
            continue
        if scale not in best or sign * trial.values[0] > sign * best[scale].values[0]:
            best[scale] = trial
    return [
        {"on": scale, objective.name: trial.values[0], "trial": trial.number} for scale, trial in sorted(best.items())
    ]


def _is_best_worthy(trial: FrozenTrial) -> bool:
    """Return whether a trial has finished and keeps to its constraints."""
    return trial.state == TrialState.COMPLETE and all(excess <= 0 for excess in trial.constraints.values())


def _retrainings(run: RunDirectory, config: SearchConfig) -> set[str] | None:
    """Return the names of the retrainings that are wanted and may come to something; None while none is chosen yet."""
    promotion = read_promotion(run.promotion)
    if promotion is None:
        return None
    plan = RetrainingPlan.of(config.retrain)
    chosen = {name for number in promotion.left for name in plan.names(number)}
    asked = {name for request in read_requests(run) for name in request.names}
    return (chosen | asked) - BadEnds(run.bad_ends).retrainings()


def _models_wanted(config: SearchConfig, ends: Counter[str], trials: int) -> int:
    """Return how many models there will be if all trials that have not ended reach their last rounds."""
    finishing = ends["finished"] + trials - ends.total()
    promoted = min(config.promote.top, finishing)
    audited = min(config.promote.audit, finishing + ends["stopped early"] - promoted)
    return (promoted + audited) * config.retrain.seeds * len(config.retrain.methods())
