"""The distilled set: a few images that stand for a data set, with the space they live in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.errors import UserError
from dp_core.files import digest_of_file, replacing, write_json

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class DistilledSet:
    """Distilled images with labels, and the preprocessing that real images need to meet them.

    The images live in the space of `preprocess`; whoever trains on `training_data()` and evaluates on anything but
    `preprocess(real images)` measures nothing.

    Args:
        images: float32 [N, C, H, W], in the space of `preprocessing`.
        labels: int64 [N], or float32 [N, classes] for soft labels.
        preprocessing: maps real images in [0, 1] to the same space.
        class_names: one for each class, in the order of the labels.
        images_per_class: ipc.
        learning_rate: the rate learned with the images, if the method learns one.
        provenance: method and its settings, digest of the source, seed, versions, cost.
    """

    images: Tensor
    labels: Tensor
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    images_per_class: int
    learning_rate: float | None
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.images.dim() != 4 or self.images.dtype != torch.float32:
            raise UserError(f"Distilled images are float32 [N, C, H, W], not {self.images.dtype} {self.images.shape}.")
        if len(self.images) != len(self.labels) or len(self.images) != self.images_per_class * len(self.class_names):
            raise UserError(
                f"A distilled set of {len(self.class_names)} classes with {self.images_per_class} images each needs "
                f"{self.images_per_class * len(self.class_names)} images and labels, "
                f"not {len(self.images)} and {len(self.labels)}."
            )
        if not torch.isfinite(self.images).all():
            raise UserError("A distilled set has images with values that are not finite.")

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def digest(self) -> str:
        """SHA-256 of images and labels, 64 hex digits."""
        found = hashlib.sha256()
        for tensor in (self.images, self.labels):
            found.update(tensor.contiguous().numpy().tobytes())
        return found.hexdigest()

    def training_data(self) -> tuple[Tensor, Tensor]:
        """Return copies of images (float32 [N, C, H, W] in the set's own space) and labels."""
        return self.images.clone(), self.labels.clone()

    def preprocess(self, images: Tensor) -> Tensor:
        """Map real images, float [N, C, H, W] in [0, 1], to the space of `training_data`."""
        return self.preprocessing(images)

    def check_fits(self, image_shape: tuple[int, int, int], class_names: tuple[str, ...]) -> None:
        """Raise UserError unless the set is for images of this shape and these classes."""
        if self.image_shape != image_shape:
            raise UserError(f"The distilled set has images of shape {self.image_shape}, the data {image_shape}.")
        if self.class_names != class_names:
            raise UserError(
                f"The distilled set has {self.classes} classes ({', '.join(self.class_names[:3])}, …), "
                f"the data {len(class_names)} ({', '.join(class_names[:3])}, …)."
            )

    def save(self, path: Path) -> None:
        """Write `path` (safetensors) and the card beside it, the card last: a set without a card is not there."""
        tensors = {"images": self.images.contiguous(), "labels": self.labels.contiguous()}
        if isinstance(self.preprocessing, ZCA):
            tensors |= {"zca_mean": self.preprocessing.mean, "zca_matrix": self.preprocessing.matrix.contiguous()}
            preprocessing: dict[str, Any] = {"kind": "zca"}
        else:
            preprocessing = {
                "kind": "standardisation",
                "mean": list(self.preprocessing.mean),
                "std": list(self.preprocessing.std),
            }
        with replacing(path) as temporary:
            save_file(tensors, temporary)
        write_json(
            card_path(path),
            {
                "format": _FORMAT,
                "sha256": digest_of_file(path),
                "preprocessing": preprocessing,
                "class_names": list(self.class_names),
                "images_per_class": self.images_per_class,
                "learning_rate": self.learning_rate,
                "provenance": dict(self.provenance),
            },
        )

    @staticmethod
    def load(path: Path | str) -> DistilledSet:
        """Read what `save` wrote.

        Raises:
            UserError: the set or its card is missing, damaged, or was edited since (digest mismatch).
        """
        path = Path(path)
        card = _read_card(path)
        try:
            if digest_of_file(path) != card["sha256"]:
                raise UserError(f"{path} does not match the digest in its card: it is damaged or was edited.")
            tensors = load_file(path)
            return DistilledSet(
                images=tensors["images"],
                labels=tensors["labels"],
                preprocessing=_preprocessing(card["preprocessing"], tensors),
                class_names=tuple(card["class_names"]),
                images_per_class=card["images_per_class"],
                learning_rate=card["learning_rate"],
                provenance=card["provenance"],
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a readable distilled set: {error}.") from error


def card_path(path: Path) -> Path:
    """Return where the card of the set at `path` is: `<name>.card.json` beside it."""
    return path.with_name(path.name.removesuffix(".safetensors") + ".card.json")


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads(card_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The distilled set {path} has no readable card: {error}.") from error
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        raise UserError(f"{card_path(path)} is not the card of a distilled set in format {_FORMAT}.")
    return card


def _preprocessing(card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Preprocessing:
    if card["kind"] == "zca":
        return ZCA(tensors["zca_mean"], tensors["zca_matrix"])
    if card["kind"] == "standardisation":
        return Standardisation(tuple(card["mean"]), tuple(card["std"]))
    raise ValueError(f"unknown preprocessing '{card['kind']}'")
