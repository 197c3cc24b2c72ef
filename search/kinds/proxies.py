"""The kind of run that `winnow proxy-eval` starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import proxies
from search.output.json_rows import of_run, print_rows
from search.output.tables import read_rows
from search.output.terminal import console_of_width
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.tables import REGRETS, SUBSETS
from search.runs.directory import RunDirectory
from search.runs.kind import Fact, Kind, Row
from search.runs.progress import Progress

if TYPE_CHECKING:
    from dp_core.distillation import DistilledSet


class Proxies(Kind[ProxyEvaluationConfig, "proxies.ProxyPreparation"]):
    """Cheap scores of architectures, judged by real training."""

    config = ProxyEvaluationConfig

    def prepare(
        self, config: ProxyEvaluationConfig, run: RunDirectory, where: str, *, local: bool
    ) -> proxies.ProxyPreparation:
        """See `Kind`."""
        return proxies.prepare_proxies(config, where, local=local)

    def facts(self, prepared: proxies.ProxyPreparation) -> Sequence[Fact]:
        """See `Kind`."""
        return (Fact("table", proxies.table_digest(prepared), "truth table", str(prepared.config.truth.table)),)

    def wanted(self, prepared: proxies.ProxyPreparation) -> Any:
        """See `Kind`."""
        return prepared.wanted

    def ready_sets(self, prepared: proxies.ProxyPreparation) -> Mapping[str, DistilledSet]:
        """See `Kind`."""
        return prepared.inputs.sets

    def cpus(self, run: RunDirectory, prepared: proxies.ProxyPreparation) -> int:
        """See `Kind`."""
        return 0 if proxies.plan_of(run, prepared).finished else prepared.config.resources.cpus

    def advance(self, run: RunDirectory, prepared: proxies.ProxyPreparation, progress: Progress) -> None:
        """See `Kind`."""
        proxies.advance(run, prepared, progress)

    def report(self, run: RunDirectory) -> list[dict[str, Any]]:
        """See `Kind`."""
        return proxies.rewrite_outputs(run)

    def refuse_empty(self, run: RunDirectory, prepared: proxies.ProxyPreparation, rows: Sequence[Row]) -> None:
        """See `Kind`."""
        proxies.refuse_unanswered(run, prepared, rows)

    def status(self, run: RunDirectory) -> dict[str, Any]:
        """See `Kind`."""
        return proxies.proxies_status(run)

    def show(self, rows: Sequence[Row], run: Path, as_json: bool) -> None:
        """See `Kind`."""
        if as_json:
            print_rows(of_run(rows, run))
            return
        console = console_of_width(180)
        subsets, regrets = read_rows(run / "subsets.parquet", SUBSETS), read_rows(run / "regret.parquet", REGRETS)
        for sheet in proxies.proxy_sheets(rows, subsets, regrets):
            console.print(sheet)
        console.print(f"Tables and plots: {run / 'results.md'}, {run / 'figures'}", highlight=False)
