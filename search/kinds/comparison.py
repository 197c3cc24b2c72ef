"""The kind of run that `winnow prune` starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dp_core.errors import UserError
from search.comparison.config import ComparisonConfig
from search.comparison.preparation import StudyPreparation, prepare_study
from search.comparison.rows import with_tickets
from search.comparison.run import advance, recorded_design, write_outputs
from search.comparison.sheets import prune_sheets
from search.comparison.status import study_status
from search.output.json_rows import print_rows
from search.output.terminal import console_of_width
from search.runs.directory import RunDirectory
from search.runs.kind import Kind, Row
from search.runs.progress import Progress


class Comparison(Kind[ComparisonConfig, StudyPreparation]):
    """Ways to prune, on the same seeds and initial weights."""

    config = ComparisonConfig

    def prepare(self, config: ComparisonConfig, run: RunDirectory, where: str, *, local: bool) -> StudyPreparation:
        """See `Kind`."""
        return prepare_study(config, where, local=local)

    def cpus(self, run: RunDirectory, prepared: StudyPreparation) -> int:
        """See `Kind`."""
        return prepared.config.resources.cpus if prepared.plan(run.path).left else 0

    def advance(self, run: RunDirectory, prepared: StudyPreparation, progress: Progress) -> None:
        """See `Kind`."""
        advance(run, prepared, progress)

    def report(self, run: RunDirectory) -> list[dict[str, Any]]:
        """See `Kind`."""
        return write_outputs(run, recorded_design(run))

    def refuse_empty(self, run: RunDirectory, prepared: StudyPreparation, rows: Sequence[Row]) -> None:
        """See `Kind`."""
        if not any(row["status"] == "finished" for row in rows):
            first = f": {rows[0]['reason']}" if rows else ""
            raise UserError(f"Nothing of the run {run.path} could be finished; the lines above say why{first}.")

    def status(self, run: RunDirectory) -> dict[str, Any]:
        """See `Kind`."""
        return study_status(run)

    def show(self, rows: Sequence[Row], run: Path, as_json: bool) -> None:
        """See `Kind`."""
        if as_json:
            print_rows(with_tickets(rows, run))
            return
        console = console_of_width(180)
        for sheet in prune_sheets(rows):
            console.print(sheet)
        if rows:
            console.print(f"Tables and plots: {run / 'results.md'}, {run / 'figures'}", highlight=False)
