"""The kind of run that `winnow proxy-eval` starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dp_core.errors import UserError
from search.output.json_rows import of_run, print_rows
from search.output.tables import read_rows
from search.output.terminal import console_of_width
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.parquet import REGRETS, SUBSETS
from search.proxies.preparation import ProxyPreparation, prepare_proxies
from search.proxies.run import advance, plan_of, rewrite_outputs, table_digest
from search.proxies.sheets import proxy_sheets
from search.proxies.status import proxies_status
from search.proxies.truths import truth_rows
from search.runs.directory import RunDirectory
from search.runs.kind import Fact, Kind, Row
from search.runs.progress import Progress


class Proxies(Kind[ProxyEvaluationConfig, ProxyPreparation]):
    """Cheap scores of architectures, judged by real training."""

    config = ProxyEvaluationConfig

    def prepare(self, config: ProxyEvaluationConfig, run: RunDirectory, where: str, *, local: bool) -> ProxyPreparation:
        """See `Kind`."""
        return prepare_proxies(config, where, local=local)

    def facts(self, prepared: ProxyPreparation) -> Sequence[Fact]:
        """See `Kind`."""
        return (Fact("table", table_digest(prepared), "truth table", str(prepared.config.truth.table)),)

    def cpus(self, run: RunDirectory, prepared: ProxyPreparation) -> int:
        """See `Kind`."""
        return 0 if plan_of(run, prepared).finished else prepared.config.resources.cpus

    def advance(self, run: RunDirectory, prepared: ProxyPreparation, progress: Progress) -> None:
        """See `Kind`."""
        advance(run, prepared, progress)

    def report(self, run: RunDirectory) -> list[dict[str, Any]]:
        """See `Kind`."""
        return rewrite_outputs(run)

    def refuse_empty(self, run: RunDirectory, prepared: ProxyPreparation, rows: Sequence[Row]) -> None:
        """See `Kind`."""
        true = any(row["status"] in ("finished", "table") for row in truth_rows(prepared, plan_of(run, prepared)))
        if not true or not any(answer["architectures"] for answer in rows):
            raise UserError(
                f"Nothing of the run {run.path} could be answered, as no architecture has both a score and a true "
                "accuracy; the lines above and the tables beside results.md say why."
            )

    def status(self, run: RunDirectory) -> dict[str, Any]:
        """See `Kind`."""
        return proxies_status(run)

    def show(self, rows: Sequence[Row], run: Path, as_json: bool) -> None:
        """See `Kind`."""
        if as_json:
            print_rows(of_run(rows, run))
            return
        console = console_of_width(180)
        subsets, regrets = read_rows(run / "subsets.parquet", SUBSETS), read_rows(run / "regret.parquet", REGRETS)
        for sheet in proxy_sheets(rows, subsets, regrets):
            console.print(sheet)
        console.print(f"Tables and plots: {run / 'results.md'}, {run / 'figures'}", highlight=False)
