"""How far a proxy evaluation is."""

from __future__ import annotations

from typing import Any

from search.proxies.run import journal_of, plan_of, recorded_design
from search.proxies.truths import truth_rows
from search.runs.directory import RunDirectory


def proxies_status(run: RunDirectory) -> dict[str, Any]:
    """Return the state of an evaluation and how many scores and true accuracies there are; reads only."""
    prepared = recorded_design(run)
    plan = plan_of(run, prepared)
    truths = truth_rows(prepared, plan)
    known = sum(row["accuracy"] is not None for row in truths)
    failed = sum(row["status"] == "failed" for row in journal_of(run).read())
    return {
        "run": str(run.path),
        "state": run.state(finished=plan.finished),
        "architectures": len(prepared.architectures),
        "scores_done": f"{plan.scores_wanted - plan.scores_left} of {plan.scores_wanted}",
        "scores_failed": failed,
        "true_accuracies": f"{known} of {len(truths)}",
    }
