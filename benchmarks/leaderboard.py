"""Keep a run's leaderboard, with the command and the machine it came from, without its checkpoints.

    python benchmarks/leaderboard.py runs/cifar10

Writes benchmarks/results/<run>_leaderboard.md and .parquet.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dp_core.errors import UserError
from dp_core.files import replacing, write_text
from search.output.tables import read_rows
from search.runs.directory import find_run
from search.runs.record import read_run

HEADINGS = (
    "rank | test accuracy % | proxy accuracy % | sparsity % | parameters left | architecture | source | ipc "
    "| steps a round | screening s | retraining s"
)


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="path or name of a finished run")
    parser.add_argument("--minutes", type=float, help="wall-clock time of the whole run, if you timed it")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    run = find_run(arguments.run)
    rows = [row for row in read_rows(run.leaderboard) if row["rank"] is not None]
    name = f"{run.path.name}_leaderboard"
    write_text(arguments.folder / f"{name}.md", page(read_run(run), rows, read_rows(run.trials), arguments.minutes))
    with replacing(arguments.folder / f"{name}.parquet") as temporary:
        shutil.copyfile(run.leaderboard, temporary)
    print(arguments.folder / f"{name}.md")


def page(
    recorded: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]], minutes: Any
) -> str:
    """Return the leaderboard as Markdown."""
    states = [row["state"] for row in trials]
    splits, versions = recorded["splits"], recorded["versions"]
    facts = [
        f"- command: `{recorded['command']}`",
        f"- machine: {recorded['machine']}; Python {recorded['python']}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"- data: {splits['train']} training, {splits['validation']} validation, {splits['test']} test images",
        f"- trials: {len(states)}, of which {states.count('COMPLETE')} reached their sparsity, "
        f"{states.count('PRUNED')} were stopped early, {states.count('FAIL')} failed; "
        f"{sum(row['seconds'] or 0 for row in trials):.0f} s of screening, "
        f"{sum(row['retraining_seconds'] for row in rows):.0f} s of retraining (both summed over trials)",
    ]
    if minutes is not None:
        facts.append(f"- wall-clock: {minutes:.1f} minutes, distillation included")
    name = recorded["config"]["run"]["name"]
    return "\n".join([f"# Leaderboard of {name}", "", *facts, "", *table(rows), ""])


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the rows as a Markdown table."""
    lines = [f"| {HEADINGS} |", "|---" * len(HEADINGS.split("|")) + "|"]
    for row in rows:
        spread = "" if row["test_accuracy_std"] is None else f" ± {100 * row['test_accuracy_std']:.2f}"
        cells = [
            str(row["rank"]),
            f"{100 * row['test_accuracy']:.2f}{spread}",
            f"{100 * row['proxy_accuracy']:.1f}",
            f"{100 * row['sparsity']:.1f}",
            f"{row['parameters_left']:,}",
            row["architecture"],
            row["source"],
            "–" if row["ipc"] is None else str(row["ipc"]),
            "–" if row["steps"] is None else str(row["steps"]),
            f"{row['screening_seconds']:.1f}",
            f"{row['retraining_seconds']:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"leaderboard.py: {error}")
