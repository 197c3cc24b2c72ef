"""The kind of run that `winnow prune` starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_core.errors import UserError
from search import comparison
from search.comparison.config import ComparisonConfig
from search.output.json_rows import print_rows
from search.output.terminal import console_of_width
from search.runs.directory import RunDirectory
from search.runs.kind import Kind, Row
from search.runs.progress import Progress

if TYPE_CHECKING:
    from dp_core.distillation import DistilledSet


class Comparison(Kind[ComparisonConfig, "comparison.ComparisonPreparation"]):
    """Ways to prune, on the same seeds and initial weights."""

    config = ComparisonConfig

    def prepare(
        self, config: ComparisonConfig, run: RunDirectory, where: str, *, local: bool
    ) -> comparison.ComparisonPreparation:
        """See `Kind`."""
        return comparison.prepare_comparison(config, where, local=local)

    def wanted(self, prepared: comparison.ComparisonPreparation) -> Any:
        """See `Kind`."""
        return prepared.wanted

    def ready_sets(self, prepared: comparison.ComparisonPreparation) -> Mapping[str, DistilledSet]:
        """See `Kind`."""
        return prepared.sets

    def cpus(self, run: RunDirectory, prepared: comparison.ComparisonPreparation) -> int:
        """See `Kind`."""
        return prepared.config.resources.cpus if prepared.plan(run.path).left else 0

    def advance(self, run: RunDirectory, prepared: comparison.ComparisonPreparation, progress: Progress) -> None:
        """See `Kind`."""
        comparison.advance(run, prepared, progress)

    def report(self, run: RunDirectory) -> list[dict[str, Any]]:
        """See `Kind`."""
        return comparison.write_outputs(run, comparison.recorded_design(run))

    def refuse_empty(self, run: RunDirectory, prepared: comparison.ComparisonPreparation, rows: Sequence[Row]) -> None:
        """See `Kind`."""
        if not any(row["status"] == "finished" for row in rows):
            first = f": {rows[0]['reason']}" if rows else ""
            raise UserError(f"Nothing of the run {run.path} could be finished; the lines above say why{first}.")

    def status(self, run: RunDirectory) -> dict[str, Any]:
        """See `Kind`."""
        return comparison.comparison_status(run)

    def show(self, rows: Sequence[Row], run: Path, as_json: bool) -> None:
        """See `Kind`."""
        if as_json:
            print_rows(comparison.with_tickets(rows, run))
            return
        console = console_of_width(180)
        for sheet in comparison.prune_sheets(rows):
            console.print(sheet)
        if rows:
            console.print(f"Tables and plots: {run / 'results.md'}, {run / 'figures'}", highlight=False)
