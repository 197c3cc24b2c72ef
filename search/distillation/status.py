"""How far a distillation is."""

from __future__ import annotations

from typing import Any

from search.distillation.preparation import DistillPlan
from search.distillation.run import is_finished, recorded_plan
from search.runs.directory import RunDirectory


def distillation_status(run: RunDirectory) -> dict[str, Any]:
    """Return the state of a distillation, how many sets are made, and how far the next is; reads only.

    `iteration` is that of the last checkpoint of the set that is being made, and `best_validation_accuracy` that of its
    best state so far; both are None if there is no such set, or no such thing.
    """
    recorded, prepared = recorded_plan(run)
    ipcs = prepared.config.distill.images_per_class
    left = [ipc for ipc in ipcs if prepared.ready(ipc) is None]
    return {
        "run": str(run.path),
        "state": run.state(finished=is_finished(recorded, prepared)),
        "sets_done": f"{len(ipcs) - len(left)} of {len(ipcs)}",
        **_next(prepared, left[0] if left else None),
    }


def _next(prepared: DistillPlan, images_per_class: int | None) -> dict[str, Any]:
    if images_per_class is None:
        return {"images_per_class": None, "iteration": None, "iterations": None, "best_validation_accuracy": None}
    unfinished = prepared.unfinished(images_per_class)
    return {
        "images_per_class": images_per_class,
        "iteration": unfinished.iteration(),
        "iterations": getattr(prepared.distiller, "iterations", None),
        "best_validation_accuracy": unfinished.best_score(),
    }
