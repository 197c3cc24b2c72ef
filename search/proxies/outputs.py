"""What an evaluation leaves in its folder: tables, a page and plots of whatever is finished."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dp_core.files import write_text
from search.output.tables import write_table
from search.proxies.answers import Answers, answers_of
from search.proxies.architecture import flops_of
from search.proxies.figures import write_figures
from search.proxies.names import reading_name
from search.proxies.page import page_body
from search.proxies.preparation import ProxyDesign
from search.proxies.scores import scores_of
from search.proxies.tables import ANSWERS, BUDGETS, REGRETS, SCORES, SUBSETS, TRUTHS
from search.proxies.trainings import Trainings
from search.proxies.truths import accuracies, training_costs, truth_rows


def write_outputs(
    folder: Path, prepared: ProxyDesign, trainings: Trainings | None, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Write everything that follows from the journal's `rows` and the truth so far; return the answers, best first."""
    truths = truth_rows(prepared, trainings)
    answers, columns = _answered(prepared, rows, truths)
    write_table(folder / "scores.parquet", _long(prepared, rows), SCORES)
    write_table(folder / "truth.parquet", truths, TRUTHS)
    write_table(folder / "answers.parquet", answers.overall, ANSWERS)
    write_table(folder / "subsets.parquet", answers.subsets, SUBSETS)
    write_table(folder / "regret.parquet", answers.regrets, REGRETS)
    write_table(folder / "budget.parquet", answers.budgets, BUDGETS)
    write_text(folder / "answers.json", json.dumps(answers.overall, indent=1) + "\n")
    body = page_body(
        answers.overall,
        answers.subsets,
        answers.regrets,
        answers.hits,
        answers.failures,
        truths,
        within=prepared.config.answers.within,
        unfinished=_unfinished(prepared, truths, rows),
        foreign_sets=prepared.foreign_sets,
    )
    write_text(folder / "results.md", f"# Proxies: {folder.name}\n\n{body}")
    write_figures(answers.overall, answers.budgets, truths, columns, folder / "figures")
    return answers.overall


def _unfinished(prepared: ProxyDesign, truths: list[dict[str, Any]], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what is missing, as a sentence; "" for nothing."""
    wanted = len(prepared.architectures) * sum(
        section.replicates for section in prepared.config.chosen_proxies.values()
    )
    unknown = sum(row["status"] == "unfinished" for row in truths)
    if len(rows) >= wanted and not unknown:
        return ""
    return f"{len(rows):,} of {wanted:,} scores, {len(truths) - unknown:,} of {len(truths):,} true accuracies."


def _answered(
    prepared: ProxyDesign, rows: Sequence[Mapping[str, Any]], truths: list[dict[str, Any]]
) -> tuple[Answers, dict[str, Sequence[float]]]:
    truth, costs = accuracies(truths), training_costs(truths)
    scores = scores_of(prepared, rows, truth, costs)
    answers = answers_of(
        scores,
        [architecture.label for architecture in prepared.architectures],
        truth,
        costs,
        [architecture.parameters for architecture in prepared.architectures],
        prepared.config.answers,
        prepared.config.run.seed,
    )
    # A score without a correlation, such as a constant one, comes last.
    answers.overall.sort(key=lambda row: (row["spearman"] is None, -(row["spearman"] or 0)))
    return answers, {name: score.values.tolist() for name, score in scores.items()}


def _long(prepared: ProxyDesign, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each architecture, reading and replicate; a proxy that failed has one without a value."""
    found = {architecture.label: architecture for architecture in prepared.architectures}
    table = []
    for row in rows:
        if row["architecture"] not in found or row["proxy"] not in prepared.proxies:
            continue
        same = {key: row[key] for key in ("architecture", "replicate", "status", "reason")}
        if row["status"] == "failed":
            table.append({**same, "proxy": row["proxy"]})
        for reading in row["readings"]:
            name = reading_name(row["proxy"], reading["key"])
            values = {key: value for key, value in reading.items() if key != "key"}
            cost = flops_of(found[row["architecture"]], reading["image_gradients"], reading["forward_images"])
            table.append({**same, **values, "proxy": name, "flops": cost})
    return table
