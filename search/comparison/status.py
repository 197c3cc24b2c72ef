"""How far a study is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from search.comparison.run import recorded_design
from search.runs.directory import RunDirectory
from trainables.laboratory import JobKind, StudyFiles


def study_status(run: RunDirectory) -> dict[str, Any]:
    """Return the state of a study and how many jobs of each kind are done, and the tickets; reads only."""
    plan, files = recorded_design(run).plan(run.path), StudyFiles(run.path)
    tickets = [files.ticket(job.cell) for job in plan.jobs if job.kind == "train"]
    wanted, left = Counter(job.kind for job in plan.jobs), Counter(job.kind for job in plan.open)
    named: dict[JobKind, str] = {"tune": "learning_rates", "find": "searches", "train": "trainings"}
    return {
        "run": str(run.path),
        "state": run.state(finished=plan.left == 0),
        **{f"{name}_done": f"{wanted[kind] - left[kind]} of {wanted[kind]}" for kind, name in named.items()},
        "models": [str(ticket) for ticket in tickets if ticket.exists()],
    }
