"""How far a proxy evaluation is."""

from __future__ import annotations

from typing import Any

from search.proxies.config import ProxyEvaluationConfig
from search.proxies.journal import journal_of
from search.proxies.trainings import trainings_of
from search.proxies.truth_table import refuse_changed
from search.proxies.truths import row_of_trainings
from search.proxies.wanted import WantedEvaluation
from search.runs.directory import RunDirectory
from search.runs.record import config_of, read_run
from search.runs.wanted import noted_wanted


def proxies_status(run: RunDirectory) -> dict[str, Any]:
    """Return the state of an evaluation and how many scores and true accuracies there are; reads only."""
    recorded = read_run(run)
    config = config_of(run, recorded, ProxyEvaluationConfig)
    refuse_changed(config.truth.table, recorded.get("table"), run.path)
    wanted, rows = _wanted(run), journal_of(run).read()
    scores = {
        (architecture.label, proxy, replicate)
        for architecture in wanted.architectures
        for proxy, section in config.chosen_proxies.items()
        for replicate in range(section.replicates)
    }
    done = scores & {(row["architecture"], row["proxy"], row["replicate"]) for row in rows}
    count = known = len(wanted.architectures)
    trainings, left = trainings_of(config, wanted.images), False
    if trainings is not None:
        truths = [row_of_trainings(trainings, architecture) for architecture in wanted.architectures]
        known = sum(row["accuracy"] is not None for row in truths)
        left = any(trainings.left(architecture) for architecture in wanted.architectures)
    return {
        "run": str(run.path),
        "state": run.state(finished=len(done) == len(scores) and not left),
        "architectures": count,
        "scores_done": f"{len(done)} of {len(scores)}",
        "scores_failed": sum(row["status"] == "failed" for row in rows),
        "true_accuracies": f"{known} of {count}",
    }


def _wanted(run: RunDirectory) -> WantedEvaluation:
    noted = noted_wanted(run, WantedEvaluation)
    if noted is not None:
        return noted
    from search.proxies.run import recorded_design  # builds every architecture, which takes seconds

    return recorded_design(run).wanted
