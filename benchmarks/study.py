"""Keep the results of a study of pruning methods, and compare its methods seed by seed.

    python benchmarks/study.py runs/prune-mini --compare distilled:subset distilled:imp_short distilled:snip
    python benchmarks/study.py runs/frontier runs/frontier-batch --name frontier --compare distilled-30:real-30

Writes benchmarks/results/<run>/: both Parquet tables, the plots, and tables.md with the command, the machine, the
comparison of all methods and the paired differences that were asked for (mean over seeds, Student's 95 % interval).
Several runs, each of other networks, are kept as one study; runs of one network that differ in `retrain.epochs` are
told apart by those, and further plots show them in one: accuracy against all that was spent, a line a method.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from dp_core.errors import UserError
from dp_core.files import replacing_directory, write_text
from search.comparison.figures import accuracy_against_all_spent, write_figures
from search.comparison.page import page_body
from search.comparison.run import recorded_design, write_outputs
from search.comparison.sheets import sparsity_label
from search.comparison.statistics import Row, by_seed, by_sparsity, paired_differences, t_interval
from search.comparison.tables import RESULTS, ROUNDS
from search.comparison.totals import UNITS
from search.output.drawing import save
from search.output.numbers import plural
from search.output.panels import Panel
from search.output.rows import grouped
from search.output.sheet import Sheet
from search.output.tables import read_rows, write_table
from search.runs.directory import find_run
from search.runs.record import read_run

_TABLES = {"results.parquet": RESULTS, "rounds.parquet": ROUNDS}


def main() -> None:
    """Read the arguments and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="path or name of a study, finished or not")
    parser.add_argument("--name", help="folder of the results; that of the first run where nothing is said")
    parser.add_argument("--compare", nargs="*", default=[], metavar="METHOD:OTHER", help="pairs of methods")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    pairs = [tuple(pair.split(":", 1)) for pair in arguments.compare]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f"A comparison is written method:other, which {' '.join(arguments.compare)} are not all.")
    runs = [find_run(run) for run in arguments.runs]
    designs = [recorded_design(run) for run in runs]
    epochs = [design.config.retrain.epochs for design in designs]
    studies = [write_outputs(run, design) for run, design in zip(runs, designs, strict=True)]
    names = network_names(studies, epochs)
    rows = together(studies, names)
    text = page([read_run(run) for run in runs], rows, pairs)
    folder = arguments.folder / (arguments.name or runs[0].path.name)
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in _TABLES.items():
        write_table(folder / name, together([read_rows(run.path / name, schema) for run in runs], names), schema)
    with replacing_directory(folder / "figures") as temporary:
        write_figures(rows, temporary, next((design.published for design in designs if design.published), ()))
        for kind, panels in across_budgets(studies, names).items():
            save(panels, temporary / f"{kind}.svg")
    write_text(folder / "tables.md", text)
    print(folder)


def network_names(studies: Sequence[Sequence[Row]], epochs: Sequence[int]) -> list[dict[str, str]]:
    """Return for each study how its networks are called: where others have one of the same name, with its epochs.

    Raises:
        UserError: that does not tell them apart.
    """
    own = [list(dict.fromkeys(str(row["network"]) for row in rows)) for rows in studies]
    shared = {name for name, number in Counter(name for names in own for name in names).items() if number > 1}
    found = [
        {name: f"{name}, {plural(length, 'epoch')}" if name in shared else name for name in names}
        for names, length in zip(own, epochs, strict=True)
    ]
    called = Counter(name for names in found for name in names.values())
    if twice := sorted(name for name, number in called.items() if number > 1):
        raise UserError(f"Two of the studies have a network '{twice[0]}', whose results cannot be told apart.")
    return found


def together(studies: Sequence[Sequence[Row]], names: Sequence[Mapping[str, str]]) -> list[Row]:
    """Return the rows of all studies, with their networks called by `names`."""
    return [
        {**row, "network": called[row["network"]]} for rows, called in zip(studies, names, strict=True) for row in rows
    ]


def across_budgets(studies: Sequence[Sequence[Row]], names: Sequence[Mapping[str, str]]) -> dict[str, list[Panel]]:
    """Return the panels, by file name, of each network that several studies trained for different lengths."""
    of_network: dict[str, list[Row]] = {}
    for rows, called in zip(studies, names, strict=True):
        for row in rows:
            if (name := called[row["network"]]) != row["network"]:  # a method at one length is a method of its own
                of_network.setdefault(str(row["network"]), []).append({**row, "method": f"{row['method']} {name}"})
    found = {
        f"budgets-{unit.replace('_', '-')}-{network}": accuracy_against_all_spent(rows, unit)
        for network, rows in of_network.items()
        for unit in UNITS
    }
    return {kind: panels for kind, panels in found.items() if panels}


def page(recorded: Sequence[Mapping[str, Any]], rows: Sequence[Row], pairs: Sequence[Sequence[str]]) -> str:
    """Return the tables of one or several studies, of which `recorded` is what their run.json says, as Markdown."""
    facts = list(dict.fromkeys(fact for each in recorded for fact in _facts(each)))
    facts.append(f"- seeds: {', '.join(str(seed) for seed in sorted({row['seed'] for row in rows}))}")
    parts = [
        "# Tables of a study\n\nWritten by `python benchmarks/study.py`.\n\n" + "\n".join(facts),
        page_body(rows),
    ]
    if pairs:
        parts.append("## Differences, seed by seed\n\n" + differences_sheet(rows, pairs).markdown())
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _facts(recorded: Mapping[str, Any]) -> list[str]:
    splits, versions = recorded["splits"], recorded["versions"]
    return [
        f"- command: `{recorded['command']}`",
        f"- machine: {recorded['machine']}; Python {recorded['python']}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"- data: {splits['train']} training, {splits['validation']} validation, {splits['test']} test images",
    ]


def differences_sheet(rows: Sequence[Row], pairs: Sequence[Sequence[str]]) -> Sheet:
    """Return the paired differences of each pair of methods, and their means over all networks and sparsities."""
    lines = []
    for measure, column in (("test accuracy", "test_accuracy"), ("error barrier", "error_barrier")):
        for first, second in pairs:
            name = f"{measure}: {first} − {second}"
            for found in paired_differences(rows, first, second, column):
                place = [found.network, sparsity_label(found.target_sparsity), str(found.seeds)]
                lines.append([name, *place, f"{100 * found.mean:+.1f}", _interval(found.low, found.high)])
            values = overall_differences(rows, first, second, column)
            if values:
                interval = t_interval(values) or (None, None)
                lines.append(
                    [name, "all", "all", str(len(values)), f"{100 * fmean(values):+.1f}", _interval(*interval)]
                )
    return Sheet(["Difference, points", "Network", "Sparsity", "Seeds", "Mean", "95 % interval"], lines)


def overall_differences(rows: Sequence[Row], method: str, other: str, column: str) -> list[float]:
    """Return by how much `column` is higher for `method` than for `other`, for each seed that all cells have.

    A cell is a network at a sparsity that both methods have, and the difference of a seed is the mean over cells. Empty
    if there is but one cell.
    """
    cells = []
    for of_network in grouped(rows, "network").values():
        for cell in by_sparsity(of_network).values():
            first, second = (
                by_seed([row for row in cell if row["method"] == name], column) for name in (method, other)
            )
            if first and second:
                cells.append({seed: first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())})
    if len(cells) < 2:
        return []
    seeds = sorted(set.intersection(*(set(cell) for cell in cells)))
    return [fmean(cell[seed] for cell in cells) for seed in seeds]


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"study: {error}")
