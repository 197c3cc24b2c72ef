"""The kind of run that `winnow distill` starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import distillation
from search.config.meaning import ASKED, FIXED, Meaning
from search.distillation.config import DistillConfig
from search.output.json_rows import of_run, print_rows
from search.output.terminal import console_of_width
from search.runs.changes import Key
from search.runs.directory import RunDirectory
from search.runs.kind import Fact, Kind, Row
from search.runs.progress import Progress

if TYPE_CHECKING:
    from search.runs.estimate import Estimate

_SETTINGS = ("distill", "settings")


class Distillation(Kind[DistillConfig, "distillation.DistillPreparation"]):
    """Distilled sets; they are made in the driver's own process."""

    config = DistillConfig

    def prepare(
        self, config: DistillConfig, run: RunDirectory, where: str, *, local: bool
    ) -> distillation.DistillPreparation:
        """See `Kind`."""
        prepared = distillation.prepare_distillation(config, run.path, where)
        if not run.config.exists():
            distillation.refuse_taken_outputs(prepared)
        return prepared

    def estimate(self, prepared: distillation.DistillPreparation) -> Estimate:
        """See `Kind`."""
        return distillation.estimate(prepared)

    def facts(self, prepared: distillation.DistillPreparation) -> Sequence[Fact]:
        """See `Kind`."""
        return (Fact("identity", prepared.identity, "config", str(prepared.run / "run.yaml"), by_config=True),)

    def wanted(self, prepared: distillation.DistillPreparation) -> Any:
        """See `Kind`."""
        return prepared.wanted

    def meaning(self, run: RunDirectory, config: DistillConfig, key: Key) -> Meaning | None:
        """See `Kind`: the sizes of steps may be changed while a set is made, and before that all settings may."""
        if key[:2] != _SETTINGS:
            return None
        recorded, plan = distillation.plan_with(run, config)
        if plan.is_finished(recorded):
            return FIXED
        return ASKED if not plan.begun or key[2] in plan.wanted.step_sizes else FIXED

    def instead(self, run: RunDirectory, config: DistillConfig) -> str:
        """See `Kind`."""
        recorded, plan = distillation.plan_with(run, config)
        if plan.is_finished(recorded) or not plan.wanted.step_sizes:
            return " with this"
        known = ", ".join(f"distill.settings.{name}" for name in sorted(plan.wanted.step_sizes))
        return f" with this: a set on its way can change {known}"

    def cpus(self, run: RunDirectory, prepared: distillation.DistillPreparation) -> int:
        """See `Kind`."""
        return 0

    def advance(self, run: RunDirectory, prepared: distillation.DistillPreparation, progress: Progress) -> None:
        """See `Kind`."""
        distillation.advance(run, prepared, progress)

    def report(self, run: RunDirectory) -> list[dict[str, Any]]:
        """See `Kind`."""
        return distillation.rows_of(distillation.recorded_plan(run)[1])

    def status(self, run: RunDirectory) -> dict[str, Any]:
        """See `Kind`."""
        return distillation.distillation_status(run)

    def show(self, rows: Sequence[Row], run: Path, as_json: bool) -> None:
        """See `Kind`."""
        if as_json:
            print_rows(of_run(rows, run))
            return
        console = console_of_width(140)
        console.print(distillation.sets_sheet(rows))
        console.print(f"Pictures: {run / 'images'}", highlight=False)
        console.print(f"Curves: tensorboard --logdir {run / 'tensorboard'}", highlight=False)
