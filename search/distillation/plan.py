"""What the sets of a distillation are, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_core.distillation.card import card_path, read_set_card
from dp_core.errors import UserError
from dp_core.files import digest_of_json
from search.distillation.config import DistillConfig
from search.distillation.unfinished import Unfinished

if TYPE_CHECKING:
    from dp_core.distillation import Distiller


@dataclass(frozen=True)
class WantedSets:
    """How the sets of a run are made.

    Attributes:
        settings: of the distiller, those that have their defaults too.
        step_sizes: the settings that may be changed while a set is made; none where it takes no steps.
    """

    settings: dict[str, Any]
    step_sizes: tuple[str, ...]

    @classmethod
    def of(cls, distiller: Distiller) -> WantedSets:
        """Return how a distiller makes them."""
        return cls(distiller.settings(), tuple(getattr(distiller, "step_sizes", ())))

    def lasting(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings without those that may have been others when a set of the same run was made."""
        return {name: value for name, value in settings.items() if name not in self.step_sizes}


@dataclass(frozen=True)
class DistillPlan:
    """The sets of a run.

    Attributes:
        config: of the run.
        run: its directory.
        wanted: how the sets are made.
        train: digest of the training images.
    """

    config: DistillConfig
    run: Path
    wanted: WantedSets
    train: str

    @property
    def identity(self) -> str:
        """Digest of all that decides what the sets of the run are."""
        config = self.config
        return digest_of_json([self.wanted.settings, config.distill.images_per_class, config.run.seed, self.train])

    @property
    def begun(self) -> bool:
        """Whether there is something of a set: the set, or a checkpoint of it."""
        ipcs = self.config.distill.images_per_class
        return any(self.path(ipc).exists() or self.unfinished(ipc).folder.exists() for ipc in ipcs)

    def path(self, images_per_class: int) -> Path:
        """Return where the set of this size is, or will be."""
        folder = self.config.distill.output or self.run
        return folder.resolve() / f"{self.config.run.name}-{images_per_class}ipc.safetensors"

    def unfinished(self, images_per_class: int) -> Unfinished:
        """Return where the checkpoints of the set of this size are."""
        return Unfinished(self.run / "checkpoints" / f"{images_per_class}ipc")

    def is_made(self, images_per_class: int) -> bool:
        """Return whether there is the set of this size, by its card.

        Raises:
            UserError: there is a damaged set, or one that is not what this run makes.
        """
        path = self.path(images_per_class)
        if not (path.exists() and card_path(path).exists()):
            return False
        made = read_set_card(path).get("provenance") or {}
        found = [self.wanted.lasting(made.get("distiller") or {}), made.get("seed"), made.get("source_digest")]
        # As JSON, in which a tuple of a setting is the list that a card gives back.
        if digest_of_json(found) != digest_of_json(
            [self.wanted.lasting(self.wanted.settings), self.config.run.seed, self.train]
        ):
            raise UserError(f"{path} is not what the run {self.run} makes: move it away.")
        return True

    def is_finished(self, recorded: Mapping[str, Any]) -> bool:
        """Return whether every set has been made and recorded in run.yaml, and is there with its card.

        Raises:
            UserError: a set is damaged, or not what the run makes.
        """
        ipcs = self.config.distill.images_per_class
        return all(key_of(ipc) in recorded["distilled_sets"] and self.is_made(ipc) for ipc in ipcs)


def key_of(images_per_class: int) -> str:
    """Return the name under which run.yaml has the set of this size."""
    return f"{images_per_class}ipc"
