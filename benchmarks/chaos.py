"""What a run survives: the scenarios of tests/chaos, with what was lost in each (`make chaos`).

Drivers, workers and disks of tiny searches are killed, filled and damaged while they run; every scenario is a test that
says what must be left of the run. This script runs them all, an hour on two cores, and writes the figures as
JSON and as a table.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.measuring import as_a_program, parser_of, provenance, write_report
from dp_core.errors import UserError
from dp_core.files import write_text

# Columns of the table: key and heading.
COLUMNS = (
    ("scenario", "scenario"),
    ("how", "how"),
    ("storage", "study in"),
    ("trial", "a trial takes"),
    ("kills", "times"),
    ("trials", "trials"),
    ("failed", "failed"),
    ("lost", "lost"),
    ("changed", "changed"),
    ("doubled", "doubled"),
    ("repeated_rounds", "rounds repeated"),
    ("seconds", "seconds"),
)


def main() -> None:
    """Run the scenarios and write what they measured, and which failed: that is the script's failure, too."""
    parser = parser_of(__doc__, "chaos")
    parser.add_argument("--only", default="", metavar="EXPRESSION", help="pytest's -k: scenarios to run")
    arguments = parser.parse_args()
    began, failures = time.monotonic(), _Failures()
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        options = ["tests/chaos", "-v", "-m", "chaos or not chaos", "-k", arguments.only, "--figures", str(figures)]
        status = pytest.main(options, plugins=[failures])
        rows = json.loads(figures.read_text(encoding="utf-8")) if figures.exists() else []
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise UserError("the scenarios did not run to their end; no figures were written.")
    seconds = round(time.monotonic() - began)
    report = {**provenance("chaos", torch.device("cpu")), "seconds": seconds, "failed": failures.names, "rows": rows}
    write_text(arguments.output.with_suffix(".md"), page(report))
    write_report(arguments.output, report)
    if failures.names:
        raise UserError(f"not every scenario ended as it must: {', '.join(failures.names)}.")


class _Failures:
    """A plugin of pytest that notes which tests failed."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one that did."""
        if report.failed:
            self.names.append(report.nodeid.rpartition("/")[2])


def page(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    rows: Sequence[Mapping[str, Any]] = report["rows"]
    kills = sum(row.get("kills") or 0 for row in rows)
    lost = sum(row.get("lost") or 0 for row in rows)
    machine, failed = report["machine"], report["failed"]
    lines = [
        "# What a run survives",
        "",
        f"{len(rows)} scenarios of `make chaos` on {machine['cores']} cores of {machine['cpu']}, "
        f"{report['seconds'] / 60:.0f} minutes: {kills} kills and interruptions, {lost} trials lost.",
        "",
        "*Lost* are trials that had ended and were gone afterwards, *changed* those with another state, value, reason",
        "or round, *doubled* those beyond the number asked for; rounds are *repeated* where a kill came before their",
        "checkpoint. All trials, and their tickets bit for bit, are also compared with those of an undisturbed run.",
        "",
        *([f"Not every test ended as it must: {', '.join(failed)}.", ""] if failed else []),
        "| " + " | ".join(heading for _, heading in COLUMNS) + " |",
        "|" + "|".join("---" if key in ("scenario", "how", "storage", "trial") else "--:" for key, _ in COLUMNS) + "|",
    ]
    lines += ["| " + " | ".join(str(row.get(key, "–")) for key, _ in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    as_a_program(main)
