"""A retrained sparse network on disk, with all that is needed to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dp_core.cards import read_card, write_card
from dp_core.data.preprocessing import Standardisation
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.tensors import write_tensors

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """Architecture, weights, preprocessing and results.

    `weights` are parameters and buffers, removed weights being exactly zero; `results` is free-form and has at least
    `trial`, `seed` and `test_accuracy`.
    """

    spec: ModelSpec
    input_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    space: Standardisation
    weights: Mapping[str, Tensor]
    results: Mapping[str, Any]

    def build(self) -> nn.Module:
        """Return the network in evaluation mode; it takes images preprocessed by `space`."""
        model = build(self.spec.architecture, self.input_shape, len(self.class_names), seed=0)
        model.load_state_dict(dict(self.weights))
        return model.eval()

    def write_into(self, folder: Path) -> None:
        """Write model.safetensors and card.json into an existing folder."""
        write_tensors(folder / _WEIGHTS, self.weights)
        write_card(
            folder / "card.json",
            {
                "model": self.spec.to_dict(),
                "input_shape": list(self.input_shape),
                "class_names": list(self.class_names),
                "preprocessing": {"mean": list(self.space.mean), "std": list(self.space.std)},
                "results": dict(self.results),
            },
            {_WEIGHTS: folder / _WEIGHTS},
        )

    @staticmethod
    def load(folder: Path) -> TrainedModel:
        """Read what `write_into` wrote.

        Raises:
            UserError: a file is missing, damaged, or was edited since (digest mismatch).
        """
        card = read_card(folder / "card.json", "retrained model", {_WEIGHTS: folder / _WEIGHTS})
        try:
            return TrainedModel(
                spec=ModelSpec.from_dict(card["model"]),
                input_shape=tuple(card["input_shape"]),
                class_names=tuple(card["class_names"]),
                space=Standardisation(tuple(card["preprocessing"]["mean"]), tuple(card["preprocessing"]["std"])),
                weights=load_file(folder / _WEIGHTS),
                results=card["results"],
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder} is not a readable model: {error}.") from error

    @staticmethod
    def is_sound(folder: Path) -> bool:
        """Return whether there is an undamaged model in a folder."""
        try:
            TrainedModel.load(folder)
        except UserError:
            return False
        return True
