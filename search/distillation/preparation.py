"""Everything that is checked before a distillation starts: nothing is left behind if a check fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.data import Splits
from dp_core.distillation import DistilledSet, Distiller
from dp_core.distillation.distilled_set import card_path
from dp_core.errors import UserError, naming
from dp_core.files import digest_of_json
from search.distillation.config import DistillConfig
from search.distillation.unfinished import Unfinished
from search.runs.checks import sound_splits


@dataclass(frozen=True)
class DistillPlan:
    """What the sets of a run are, and where.

    Attributes:
        run: the run directory.
        train: digest of the training images.
    """

    config: DistillConfig
    run: Path
    distiller: Distiller
    train: str

    @property
    def identity(self) -> str:
        """Digest of all that decides what the sets of the run are."""
        config = self.config
        return digest_of_json([self.distiller.settings(), config.distill.images_per_class, config.run.seed, self.train])

    @property
    def step_sizes(self) -> Mapping[str, float]:
        """The distiller's settings that may be changed while a set is made; none where it takes no steps."""
        return getattr(self.distiller, "step_sizes", {})

    @property
    def begun(self) -> bool:
        """Whether there is something of a set: the set, or a checkpoint of it."""
        ipcs = self.config.distill.images_per_class
        return any(self.path(ipc).exists() or self.unfinished(ipc).folder.exists() for ipc in ipcs)

    def _lasting(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings without those that may have been others when a set of the same run was made."""
        return {name: value for name, value in settings.items() if name not in self.step_sizes}

    def path(self, images_per_class: int) -> Path:
        """Return where the set of this size is, or will be."""
        folder = self.config.distill.output or self.run
        return folder.resolve() / f"{self.config.run.name}-{images_per_class}ipc.safetensors"

    def unfinished(self, images_per_class: int) -> Unfinished:
        """Return where the checkpoints of the set of this size are."""
        return Unfinished(self.run / "checkpoints" / f"{images_per_class}ipc")

    def ready(self, images_per_class: int) -> DistilledSet | None:
        """Return the set of this size, None if it has not been made.

        Raises:
            UserError: there is a damaged set, or one that is not what this run makes.
        """
        path = self.path(images_per_class)
        if not (path.exists() and card_path(path).exists()):
            return None
        found = DistilledSet.load(path)
        made: list[Any] = [self._lasting(found.provenance.get("distiller") or {})]
        made += [found.provenance.get(key) for key in ("seed", "source_digest")]
        wanted = [self._lasting(self.distiller.settings()), self.config.run.seed, self.train]
        # As JSON, in which a tuple of a setting is the list that a card gives back.
        if digest_of_json(made) != digest_of_json(wanted):
            raise UserError(f"{path} is not what the run {self.run} makes: move it away.")
        return found


@dataclass(frozen=True)
class DistillPreparation(DistillPlan):
    """A config that has been found sound, with what was read on the way."""

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
        for ipc in config.distill.images_per_class:
            distiller.check(splits.train, ipc)
    return DistillPreparation(config, run, distiller, splits.train.digest, splits)


def refuse_taken_outputs(prepared: DistillPreparation) -> None:
    """Raise UserError if a file that a new run would write is there."""
    for ipc in prepared.config.distill.images_per_class:
        for path in (prepared.path(ipc), card_path(prepared.path(ipc))):
            if path.exists():
                raise UserError(f"{path} exists: choose another run.name or distill.output, or move it away.")
