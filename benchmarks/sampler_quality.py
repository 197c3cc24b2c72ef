"""What a bounded history costs a search: hypervolume and seconds of samplers by the number of trials.

    python -m benchmarks.sampler_quality [--seeds 10] [--table nasbench201.parquet] [--arms auto tpe ...]

Eight workers take random times, so that trials end out of order and eight are always pending. A sampler is told an
accuracy with noise; it is judged by the true values of all its trials: the hypervolume of accuracy and the logarithm of
size, as a share of the box (two objectives), or the best score, accuracy × (size / target)^-0.07 (one objective).
Seconds are processor seconds of asking, suggesting and telling, which depend less than others on what else the machine
does. `tpe` is Optuna's, on the whole history; `auto-G-N` is `auto` with at most G good and N other trials. What an
interrupted run has measured is kept in the output, and is not measured again. A run of a sampler that does not depend
on the budget is read off at each of the budgets.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection

from benchmarks.measuring import as_a_program, parser_of, provenance, write_report
from benchmarks.surrogates import Surrogate, conditional, nasbench
from dp_core.files import write_text
from search.config.objectives import Objective, objectives_of
from search.output.sheet import Sheet
from search.study.sampling import build_sampler, parts_of
from search.study.sampling.bounded import BoundedTPESampler

WORKERS = 8
BUDGETS = {
    "conditional/2": (100, 300, 1000, 2000),
    "conditional/1": (100, 300, 1000),
    "nasbench201/2": (100, 300, 1000),
}
"""Trials at which each case, a surrogate and its number of objectives, is measured."""
ARMS = ("auto", "tpe", "nsga2", "random", "auto-50-100")
STARTUP = 10
TARGET, EXPONENT = 10_000.0, -0.07

Row = dict[str, Any]


def main() -> None:
    """Read the arguments, measure what is missing, and write both files after every run."""
    parser = parser_of(__doc__, "sampler_quality")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--table", type=Path, help="a table of NAS-Bench-201 for a second surrogate")
    parser.add_argument("--arms", nargs="+", default=ARMS)
    parser.add_argument("--cases", nargs="+", choices=list(BUDGETS), default=list(BUDGETS))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    surrogates = {"conditional": conditional()}
    if arguments.table:
        surrogates["nasbench201"] = nasbench(arguments.table)
    rows: list[Row] = (
        json.loads(arguments.output.read_text(encoding="utf-8"))["rows"] if arguments.output.exists() else []
    )
    for seed, case, arm in missing(rows, arguments):
        name, _, objectives = case.partition("/")
        if name in surrogates:
            rows += run(surrogates[name], case, arm, seed, int(objectives))
            write(arguments.output, rows)
    write(arguments.output, rows)


def write(output: Path, rows: Sequence[Row]) -> None:
    """Write the rows, and the tables beside them."""
    report = {**provenance("sampler_quality", torch.device("cpu")), "rows": rows}
    write_report(output, report)
    write_text(output.with_suffix(".md"), page(report))


def kept(output: Path) -> list[Row]:
    """Return what an earlier run has measured."""
    if not output.exists():
        return []
    rows: list[Row] = json.loads(output.read_text(encoding="utf-8"))["rows"]
    return rows


def missing(rows: Sequence[Row], arguments: argparse.Namespace) -> Iterator[tuple[int, str, str]]:
    """Yield seed, case and arm of the runs that are still to be made, all arms of a seed before the next seed."""
    done = {(row["seed"], row["case"], row["sampler"]) for row in rows}
    for seed in range(arguments.seeds):
        for case in arguments.cases:
            for arm in arguments.arms:
                if (seed, case, arm) not in done:
                    yield seed, case, arm


def run(surrogate: Surrogate, case: str, arm: str, seed: int, count: int) -> list[Row]:
    """Return a row a budget for one sampler and seed."""
    objectives = objectives_of(("accuracy", "parameters") if count == 2 else ("score",))
    # Generations are of a tenth of the trials.
    lots = [(budget,) for budget in BUDGETS[case]] if arm == "nsga2" else [BUDGETS[case]]
    found = []
    for lot in lots:
        truths, seconds = simulate(surrogate, arm, objectives, lot[-1], seed)
        for budget in lot:
            quality = hypervolume(truths[:budget], surrogate) if count == 2 else max(map(score, truths[:budget]))
            measured = {"quality": quality, "seconds": seconds[budget - 1]}
            found.append({"case": case, "sampler": arm, "seed": seed, "trials": budget, **measured})
            print(found[-1], flush=True)
    return found


def simulate(
    surrogate: Surrogate, arm: str, objectives: Sequence[Objective], trials: int, seed: int
) -> tuple[list[tuple[float, float]], list[float]]:
    """Return, for each trial in the order in which they end, its true values and the seconds spent until then."""
    study = optuna.create_study(
        directions=[objective.direction for objective in objectives],
        sampler=sampler_of(arm, surrogate, objectives, trials, seed),
    )
    generator = random.Random(seed)
    running: list[tuple[float, int, optuna.Trial]] = []
    truths, marks, now, seconds = [], [], 0.0, 0.0
    for number in range(trials + WORKERS):
        if number < trials:
            started = time.process_time()
            trial = study.ask()
            surrogate.space.suggest(trial)
            seconds += time.process_time() - started
            heapq.heappush(running, (now + generator.lognormvariate(0, 0.5), number, trial))
        if len(running) == WORKERS or number >= trials:
            if not running:
                break
            now, _, ended = heapq.heappop(running)
            truths.append(surrogate.truth(ended.params))
            told = (truths[-1][0] + generator.gauss(0, surrogate.noise), truths[-1][1])
            started = time.process_time()
            study.tell(ended, list(told) if len(objectives) == 2 else score(told))
            seconds += time.process_time() - started
            marks.append(seconds)
    return truths, marks


def sampler_of(arm: str, surrogate: Surrogate, objectives: Sequence[Objective], trials: int, seed: int) -> BaseSampler:
    """Return the sampler of an arm."""
    if arm.startswith("auto-"):
        good, others = map(int, arm.split("-")[1:])
        directions = [StudyDirection[objective.direction.upper()] for objective in objectives]
        return BoundedTPESampler(directions, seed, STARTUP, good, others)
    [part] = parts_of(surrogate.space, objectives, trials, seed=seed, startup_trials=STARTUP).values()
    return build_sampler(arm, part)


def score(truth: tuple[float, float]) -> float:
    """Return the score of an accuracy and a size."""
    return truth[0] * math.pow(truth[1] / TARGET, EXPONENT)


def hypervolume(truths: Sequence[tuple[float, float]], surrogate: Surrogate) -> float:
    """Return the share of the box of accuracy and logarithmic size that is dominated."""
    low, high = (math.log(size) for size in surrogate.sizes)
    area, best = 0.0, surrogate.floor
    for size, accuracy in sorted((size, accuracy) for accuracy, size in truths):
        if accuracy > best:
            share = min(max((high - math.log(size)) / (high - low), 0.0), 1.0)
            area += share * (accuracy - best) / (1 - surrogate.floor)
            best = accuracy
    return area


def page(report: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    rows: list[Row] = report["rows"]
    machine, versions = report["machine"], report["versions"]
    facts = [
        f"- command: `{report['command']}`",
        f"- machine: {machine['cpu']}, {machine['cores']} cores",
        f"- Python {versions['python']}, Optuna {optuna.__version__}",
    ]
    parts = ["# Samplers by budget\n\nWritten by `python -m benchmarks.sampler_quality`.\n\n" + "\n".join(facts)]
    for case in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == case]
        measure = "Hypervolume" if case.endswith("/2") else "Best score"
        parts.append(f"## {case} objective{'s' if case.endswith('/2') else ''}\n\n{_table(own, measure)}")
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Row], measure: str) -> str:
    """Return mean ± standard deviation over the seeds, and the paired difference from `tpe` with its standard error."""
    lines = []
    for budget in sorted({row["trials"] for row in rows}):
        at = [row for row in rows if row["trials"] == budget]
        tpe = {row["seed"]: row["quality"] for row in at if row["sampler"] == "tpe"}
        for arm in dict.fromkeys(row["sampler"] for row in at):
            own = [row for row in at if row["sampler"] == arm]
            quality = [row["quality"] for row in own]
            pairs = [row["quality"] - tpe[row["seed"]] for row in own if row["seed"] in tpe]
            beside = f"{statistics.mean(pairs):+.4f} ± {_error(pairs):.4f}" if arm != "tpe" and len(pairs) > 1 else "-"
            spread = statistics.stdev(quality) if len(quality) > 1 else 0.0
            cost = statistics.mean(row["seconds"] for row in own)
            what = f"{statistics.mean(quality):.4f} ± {spread:.4f}"
            lines.append([str(budget), arm, str(len(own)), what, beside, f"{cost:.1f}"])
    headings = ["Trials", "Sampler", "Seeds", f"{measure}, mean ± sd", "Less tpe, mean ± se", "CPU seconds"]
    return Sheet(headings, lines).markdown()


def _error(values: Sequence[float]) -> float:
    return float(statistics.stdev(values) / len(values) ** 0.5)


if __name__ == "__main__":
    as_a_program(main)
