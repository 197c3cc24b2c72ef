"""Keep the results of a study of pruning methods, and compare its methods seed by seed.

    python benchmarks/study.py runs/prune-mini --compare distilled:subset distilled:imp_short distilled:snip

Writes benchmarks/results/<run>/: both Parquet tables, the plots, and tables.md with the command, the machine, the
comparison of all methods and the paired differences that were asked for (mean over seeds, Student's 95 % interval).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dp_core.errors import UserError
from dp_core.files import replacing_directory, write_text
from search.comparison.page import page_body
from search.comparison.run import recorded_design, write_outputs
from search.comparison.sheets import sparsity_label
from search.comparison.statistics import Row, paired_differences
from search.output.sheet import Sheet
from search.runs.directory import find_run
from search.runs.record import read_run

_TABLES = ("results.parquet", "rounds.parquet")


def main() -> None:
    """Read the arguments and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="path or name of a study, finished or not")
    parser.add_argument("--compare", nargs="*", default=[], metavar="METHOD:OTHER", help="pairs of methods")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    run = find_run(arguments.run)
    rows = write_outputs(run, recorded_design(run))
    pairs = [tuple(pair.split(":", 1)) for pair in arguments.compare]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f"A comparison is written method:other, which {' '.join(arguments.compare)} are not all.")
    folder = arguments.folder / run.path.name
    folder.mkdir(parents=True, exist_ok=True)
    for name in _TABLES:
        shutil.copyfile(run.path / name, folder / name)
    with replacing_directory(folder / "figures") as temporary:
        for figure in (run.path / "figures").glob("*.svg"):
            shutil.copyfile(figure, temporary / figure.name)
    write_text(folder / "tables.md", page(read_run(run), rows, pairs))
    print(folder)


def page(recorded: Mapping[str, Any], rows: Sequence[Row], pairs: Sequence[Sequence[str]]) -> str:
    """Return the tables as Markdown."""
    splits, versions = recorded["splits"], recorded["versions"]
    facts = [
        f"- command: `{recorded['command']}`",
        f"- machine: {recorded['machine']}; Python {recorded['python']}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"- data: {splits['train']} training, {splits['validation']} validation, {splits['test']} test images",
        f"- seeds: {', '.join(str(seed) for seed in sorted({row['seed'] for row in rows}))}",
    ]
    parts = [
        "# Tables of a study\n\nWritten by `python benchmarks/study.py`.\n\n" + "\n".join(facts),
        page_body(rows),
    ]
    if pairs:
        parts.append("## Differences, seed by seed\n\n" + differences_sheet(rows, pairs).markdown())
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def differences_sheet(rows: Sequence[Row], pairs: Sequence[Sequence[str]]) -> Sheet:
    """Return the paired differences of each pair of methods."""
    lines = []
    for measure, column in (("test accuracy", "test_accuracy"), ("error barrier", "error_barrier")):
        for first, second in pairs:
            for found in paired_differences(rows, first, second, column):
                interval = "-" if found.low is None else f"{100 * found.low:+.1f} to {100 * (found.high or 0):+.1f}"
                place = [found.network, sparsity_label(found.target_sparsity), str(found.seeds)]
                lines.append([f"{measure}: {first} − {second}", *place, f"{100 * found.mean:+.1f}", interval])
    return Sheet(["Difference, points", "Network", "Sparsity", "Seeds", "Mean", "95 % interval"], lines)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"study: {error}")
