"""Does the cheap score of distilled pruning rank candidates as the methods rank them that retrain them?

    winnow search configs/quickstart.yaml run.name=ranks search.trials=40 search.sampler=random \
      search.early_stopping.method=none promote.top=40 promote.audit=0 'retrain.method=[gradual, ticket]' \
      space.source=distilled space.ipc=10
    python -m benchmarks.method_ranks runs/ranks

A random sample of the space, all of which is retrained by every method at equal image-gradients. Of each method's test
accuracies: Spearman's correlation with the proxy accuracy, with the parameters left, and with those of the other
methods, and the 95 % percentile bootstrap interval over candidates. Writes benchmarks/results/method_ranks.{json,md}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from benchmarks.measuring import as_a_program, parser_of, write_report
from dp_core.errors import UserError
from dp_core.files import write_text
from search.output.rank_correlation import MINIMUM_PAIRS, rank_correlation
from search.output.sheet import Sheet
from search.output.tables import read_rows
from search.runs.directory import find_run
from search.runs.record import read_run

Rows = Sequence[Mapping[str, Any]]
_SEED = 0


def main() -> None:
    """Write both files."""
    parser = parser_of(__doc__, "method_ranks")
    parser.add_argument("run", help="path or name of a finished search")
    arguments = parser.parse_args()
    run = find_run(arguments.run)
    recorded = read_run(run)
    candidates = by_candidate([row for row in read_rows(run.leaderboard) if row["rank"] is not None])
    if len(candidates) < MINIMUM_PAIRS:
        raise UserError(
            f"The run {run.path.name} has {len(candidates)} candidates that every method retrained, too few."
        )
    lines = correlations(candidates)
    report = {"command": recorded["command"], "machine": recorded["machine"], "candidates": candidates}
    write_text(arguments.output.with_suffix(".md"), page(recorded, candidates, lines))
    write_report(arguments.output, {**report, "correlations": lines})


def by_candidate(rows: Rows) -> list[dict[str, Any]]:
    """Return one row a candidate that all methods have trained: proxy accuracy, size, and each one's test accuracy."""
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        told = found.setdefault(row["trial"], {"trial": row["trial"], "tests": {}})
        told |= {key: row[key] for key in ("architecture", "proxy_accuracy", "sparsity", "parameters_left")}
        told["tests"][row["method"]] = row["test_accuracy"]
    return [found[trial] for trial in sorted(found) if len(found[trial]["tests"]) == len(methods)]


def correlations(candidates: Rows) -> list[dict[str, Any]]:
    """Return the correlations of every pair that is asked for, as plain values; None where there is no such thing."""
    methods = list(candidates[0]["tests"])
    columns = {f"test accuracy, {method}": [each["tests"][method] for each in candidates] for method in methods}
    cheap = {
        "proxy accuracy": [each["proxy_accuracy"] for each in candidates],
        "parameters left": [each["parameters_left"] for each in candidates],
    }
    pairs = [(one, other) for one in cheap for other in columns] + list(combinations(columns, 2))
    every = {**cheap, **columns}
    lines = []
    for one, other in pairs:
        found = rank_correlation(every[one], every[other], _SEED)
        told = None if found is None else {"rho": found.rho, "low": found.low, "high": found.high}
        lines.append({"one": one, "other": other, "spearman": told})
    return lines


def page(recorded: Mapping[str, Any], candidates: Rows, lines: Rows) -> str:
    """Return the tables as Markdown."""
    shown = []
    for line in lines:
        found = line["spearman"]
        text = "-" if found is None else f"{found['rho']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
        shown.append([line["one"], line["other"], text])
    methods = list(candidates[0]["tests"])
    means = [[method, f"{100 * fmean(each['tests'][method] for each in candidates):.1f}"] for method in methods]
    return (
        "\n\n".join(
            [
                "# Does the cheap score rank as the methods do?",
                f"Written by `python -m benchmarks.method_ranks`; the run was `{recorded['command']}`, on "
                f"{recorded['machine']}.",
                f"{len(candidates)} candidates, each trained by every method.",
                Sheet(["Ranks by", "and by", "Spearman [95 %]"], shown).markdown().rstrip(),
                Sheet(["Method", "Mean test accuracy %"], means).markdown().rstrip(),
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    as_a_program(main)
