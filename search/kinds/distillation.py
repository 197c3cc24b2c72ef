"""The kind of run that `winnow distill` starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.config.meaning import ASKED, FIXED, Meaning
from search.distillation.config import DistillConfig
from search.distillation.preparation import (
    DistillPreparation,
    prepare_distillation,
    refuse_taken_outputs,
)
from search.distillation.run import advance, estimate, is_finished, plan_with, recorded_plan, rows_of
from search.distillation.status import distillation_status
from search.distillation.table import sets_table
from search.output.json_rows import of_run, print_rows
from search.output.terminal import console_of_width
from search.runs.changes import Key
from search.runs.checks import check_folder
from search.runs.directory import RunDirectory
from search.runs.estimate import Estimate
from search.runs.kind import Fact, Kind, Row
from search.runs.progress import Progress

_SETTINGS = ("distill", "settings")


class Distillation(Kind[DistillConfig, DistillPreparation]):
    """Distilled sets; they are made in the driver's own process."""

    config = DistillConfig

    def prepare(self, config: DistillConfig, run: RunDirectory, where: str, *, local: bool) -> DistillPreparation:
        """See `Kind`."""
        prepared = prepare_distillation(config, run.path, where)
        if not run.config.exists():
            refuse_taken_outputs(prepared)
            if config.distill.output is not None:
                check_folder(config.distill.output, "distill.output")
        return prepared

    def estimate(self, prepared: DistillPreparation) -> Estimate:
        """See `Kind`."""
        return estimate(prepared)

    def begin(self, run: RunDirectory, prepared: DistillPreparation) -> None:
        """See `Kind`."""
        if prepared.config.distill.output is not None:
            prepared.config.distill.output.mkdir(parents=True, exist_ok=True)

    def facts(self, prepared: DistillPreparation) -> Sequence[Fact]:
        """See `Kind`."""
        return (Fact("identity", prepared.identity, "config", str(prepared.run / "run.yaml"), by_config=True),)

    def meaning(self, run: RunDirectory, config: DistillConfig, key: Key) -> Meaning | None:
        """See `Kind`: the sizes of steps may be changed while a set is made, and before that all settings may."""
        if key[:2] != _SETTINGS:
            return None
        recorded, plan = plan_with(run, config)
        if is_finished(recorded, plan):
            return FIXED
        return ASKED if not plan.begun or key[2] in plan.step_sizes else FIXED

    def instead(self, run: RunDirectory, config: DistillConfig) -> str:
        """See `Kind`."""
        recorded, plan = plan_with(run, config)
        if is_finished(recorded, plan) or not plan.step_sizes:
            return " with this"
        known = ", ".join(f"distill.settings.{name}" for name in sorted(plan.step_sizes))
        return f" with this: a set on its way can change {known}"

    def cpus(self, run: RunDirectory, prepared: DistillPreparation) -> int:
        """See `Kind`."""
        return 0

    def advance(self, run: RunDirectory, prepared: DistillPreparation, progress: Progress) -> None:
        """See `Kind`."""
        advance(run, prepared, progress)

    def report(self, run: RunDirectory) -> list[dict[str, Any]]:
        """See `Kind`."""
        return rows_of(recorded_plan(run)[1])

    def status(self, run: RunDirectory) -> dict[str, Any]:
        """See `Kind`."""
        return distillation_status(run)

    def show(self, rows: Sequence[Row], run: Path, as_json: bool) -> None:
        """See `Kind`."""
        if as_json:
            print_rows(of_run(rows, run))
            return
        console = console_of_width(140)
        console.print(sets_table(rows))
        console.print(f"Pictures: {run / 'images'}", highlight=False)
        console.print(f"Curves: tensorboard --logdir {run / 'tensorboard'}", highlight=False)
