"""How far a comparison is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from search.comparison.planning import open_jobs
from search.comparison.wanted import WantedComparison
from search.runs.directory import RunDirectory
from search.runs.wanted import noted_wanted
from trainables.laboratory import ComparisonFiles, JobKind


def comparison_status(run: RunDirectory) -> dict[str, Any]:
    """Return the state of a comparison and how many jobs of each kind are done, and the tickets; reads only."""
    jobs, files = list(_wanted(run).jobs()), ComparisonFiles(run.path)
    left = open_jobs(jobs, files)
    tickets = [files.ticket(job.cell) for job in jobs if job.kind == "train"]
    counts, counts_left = Counter(job.kind for job in jobs), Counter(job.kind for job in left)
    named: dict[JobKind, str] = {
        "tune": "learning_rates",
        "tune_training": "training_rates",
        "find": "searches",
        "train": "trainings",
    }
    return {
        "run": str(run.path),
        "state": run.state(finished=not left),
        **{f"{name}_done": f"{counts[kind] - counts_left[kind]} of {counts[kind]}" for kind, name in named.items()},
        "models": [str(ticket) for ticket in tickets if ticket.exists()],
    }


def _wanted(run: RunDirectory) -> WantedComparison:
    noted = noted_wanted(run, WantedComparison)
    if noted is not None:
        return noted
    from search.comparison.run import recorded_design  # builds the networks, which takes seconds

    return recorded_design(run).wanted
