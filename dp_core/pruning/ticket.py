"""A ticket: a sparse network at its rewind point, ready to be trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dp_core.cards import read_card, write_card
from dp_core.errors import UserError
from dp_core.files import replacing_directory
from dp_core.models import ModelSpec, build, outline
from dp_core.pruning.mask import Mask
from dp_core.pruning.scope import Scope
from dp_core.tensors import write_tensors


@dataclass(frozen=True, eq=False)
class Ticket:
    """Architecture, rewind weights, mask, and how they were found.

    `weights` are parameters and buffers at the rewind point, not yet masked; `history` has one plain dict a round;
    `provenance` is free-form (data source, seed, recipe, digests); `scope` says which
    parameters the mask is about.
    """

    spec: ModelSpec
    input_shape: tuple[int, int, int]
    classes: int
    weights: Mapping[str, Tensor]
    mask: Mask
    history: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any]
    scope: Scope = field(default_factory=Scope)

    def build(self, mask: Mask | None = None) -> nn.Module:
        """Return the network at its rewind point, with `mask` (by default the ticket's own) applied."""
        model = build(self.spec.architecture, self.input_shape, self.classes, seed=0)
        model.load_state_dict(dict(self.weights))
        chosen = self.mask if mask is None else mask
        chosen.check(model, self.scope)
        chosen.apply_(model)
        return model

    def save(self, folder: Path) -> None:
        """Write `folder` with weights.safetensors, mask.safetensors and card.json, all of it or nothing."""
        with replacing_directory(folder) as temporary:
            self.write_into(temporary)

    def write_into(self, folder: Path) -> None:
        """Write the three files into an existing folder."""
        parameters = outline(self.spec.architecture, self.input_shape, self.classes).parameters()
        write_tensors(folder / "weights.safetensors", self.weights)
        self.mask.save(folder / "mask.safetensors")
        write_card(
            folder / "card.json",
            {
                "model": self.spec.to_dict(),
                "input_shape": list(self.input_shape),
                "classes": self.classes,
                "sparsity": self.mask.sparsity,
                "prunable_parameters": self.mask.total,
                "parameters": sum(parameter.numel() for parameter in parameters),
                "prunable": self.scope.describe(),
                "scope": asdict(self.scope),
                "history": [dict(row) for row in self.history],
                "provenance": dict(self.provenance),
            },
            _files(folder),
        )

    @staticmethod
    def load(folder: Path) -> Ticket:
        """Read what `save` wrote.

        Raises:
            UserError: a file is missing, damaged, or was edited since (digest mismatch).
        """
        card = read_card(folder / "card.json", "ticket", _files(folder))
        try:
            return Ticket(
                spec=ModelSpec.from_dict(card["model"]),
                input_shape=tuple(card["input_shape"]),
                classes=card["classes"],
                weights=load_file(folder / "weights.safetensors"),
                mask=Mask.load(folder / "mask.safetensors"),
                history=card["history"],
                provenance=card["provenance"],
                scope=Scope(**{key: tuple(patterns) for key, patterns in card.get("scope", {}).items()}),
            )
        except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder} is not a readable ticket: {error}.") from error


def _files(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in ("weights.safetensors", "mask.safetensors")}
