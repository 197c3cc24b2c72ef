"""The distilled set: a few images that stand for a data set, with the space they live in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dp_core.cards import read_card, write_card
from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.errors import UserError
from dp_core.files import replacing

FORMAT = 1


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
        self._check_labels()
        self._check_preprocessing()

    def _check_labels(self) -> None:
        if self.labels.dim() == 2 and self.labels.is_floating_point():
            if self.labels.shape[1] != self.classes:
                raise UserError(f"A distilled set of {self.classes} classes has soft labels of {self.labels.shape[1]}.")
            return
        if self.labels.dim() != 1 or self.labels.dtype != torch.int64:
            raise UserError(f"Labels are int64 [N] or float [N, classes], not {self.labels.dtype} {self.labels.shape}.")
        known = int(self.labels.min()) >= 0 and int(self.labels.max()) < self.classes
        counts = torch.bincount(self.labels, minlength=self.classes) if known else self.labels
        if not known or not bool((counts == self.images_per_class).all()):
            raise UserError(
                f"A distilled set needs {self.images_per_class} images of each of its {self.classes} classes; "
                f"its labels are not that."
            )

    def _check_preprocessing(self) -> None:
        space = self.preprocessing
        wanted = self.images.shape[1] if isinstance(space, Standardisation) else self.images[0].numel()
        found = len(space.mean) if isinstance(space, Standardisation) else space.mean.numel()
        if found != wanted:
            raise UserError(f"The preprocessing of a distilled set is for {found} values, its images have {wanted}.")

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
        write_card(
            card_path(path),
            {
                "format": FORMAT,
                "preprocessing": preprocessing,
                "class_names": list(self.class_names),
                "images_per_class": self.images_per_class,
                "learning_rate": self.learning_rate,
                "provenance": dict(self.provenance),
            },
            {"tensors": path},
        )

    @staticmethod
    def load(path: Path | str) -> DistilledSet:
        """Read what `save` wrote.

        Raises:
            UserError: the set or its card is missing, damaged, or was edited since (digest mismatch).
        """
        path = Path(path)
        card = read_card(card_path(path), "distilled set", {"tensors": path})
        if card.get("format") != FORMAT:
            raise UserError(f"{card_path(path)} is not the card of a distilled set in format {FORMAT}.")
        try:
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


def _preprocessing(card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Preprocessing:
    if card["kind"] == "zca":
        return ZCA(tensors["zca_mean"], tensors["zca_matrix"])
    if card["kind"] == "standardisation":
        return Standardisation(tuple(card["mean"]), tuple(card["std"]))
    raise ValueError(f"unknown preprocessing '{card['kind']}'")
