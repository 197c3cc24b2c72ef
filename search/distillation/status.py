"""How far a distillation is."""

from __future__ import annotations

from typing import Any

from search.distillation.config import DistillConfig
from search.distillation.plan import DistillPlan, WantedSets
from search.runs.directory import RunDirectory
from search.runs.record import config_of, read_run
from search.runs.wanted import noted_wanted


def distillation_status(run: RunDirectory) -> dict[str, Any]:
    """Return the state of a distillation, how many sets are made, and how far the next is; reads only.

    `iteration` is that of the last checkpoint of the set that is being made, and `best_validation_accuracy` that of its
    best state so far; both are None if there is no such set, or no such thing.
    """
    recorded = read_run(run)
    config = config_of(run, recorded, DistillConfig)
    # Of a run from before it was noted the distiller itself has to say it, and importing that takes seconds.
    wanted = noted_wanted(run, WantedSets) or WantedSets.of(config.distill.distiller())
    plan = DistillPlan(config, run.path, wanted, recorded["data"]["train"])
    ipcs = config.distill.images_per_class
    left = [ipc for ipc in ipcs if not plan.is_made(ipc)]
    return {
        "run": str(run.path),
        "state": run.state(finished=plan.is_finished(recorded)),
        "sets_done": f"{len(ipcs) - len(left)} of {len(ipcs)}",
        **_next(plan, left[0] if left else None),
    }


def _next(plan: DistillPlan, images_per_class: int | None) -> dict[str, Any]:
    if images_per_class is None:
        return {"images_per_class": None, "iteration": None, "iterations": None, "best_validation_accuracy": None}
    unfinished = plan.unfinished(images_per_class)
    return {
        "images_per_class": images_per_class,
        "iteration": unfinished.iteration(),
        # A budget of minutes stands in their place.
        "iterations": None if "minutes" in plan.wanted.settings else plan.wanted.settings.get("iterations"),
        "best_validation_accuracy": unfinished.best_score(),
    }
