"""Everything that is checked before a distillation starts: nothing is left behind if a check fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp_core.data import Splits
from dp_core.distillation import Distiller
from dp_core.distillation.card import card_path
from dp_core.errors import UserError, naming
from search.distillation.config import DistillConfig
from search.distillation.plan import DistillPlan, WantedSets
from search.runs.checks import sound_splits
from search.runs.folders import check_folder


@dataclass(frozen=True)
class DistillPreparation(DistillPlan):
    """A config that has been found sound, with what was read on the way."""

    distiller: Distiller
    splits: Splits


def prepare_distillation(config: DistillConfig, run: Path, where: str) -> DistillPreparation:
    """Check `config`, read from `where`, against itself and the data.

    Raises:
        UserError: the first thing that cannot work.
    """
    with naming(where):
        distiller = config.distill.distiller()
    splits = sound_splits(config, where)
    with naming(where):
        if config.distill.output is not None:
            check_folder(config.distill.output, "distill.output")
        for ipc in config.distill.images_per_class:
            distiller.check(splits.train, ipc)
    return DistillPreparation(config, run, WantedSets.of(distiller), splits.train.digest, distiller, splits)


def refuse_taken_outputs(prepared: DistillPreparation) -> None:
    """Raise UserError if a file that a new run would write is there."""
    for ipc in prepared.config.distill.images_per_class:
        for path in (prepared.path(ipc), card_path(prepared.path(ipc))):
            if path.exists():
                raise UserError(f"{path} exists: choose another run.name or distill.output, or move it away.")
