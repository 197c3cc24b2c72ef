"""The distilled set: a few images that stand for a data set, with the space they live in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor

from dp_core.cards import write_card
from dp_core.data.preprocessing import ZCA, Preprocessing
from dp_core.distillation.card import FORMAT, card_path, read_set_card
from dp_core.distillation.checking import (
    check_counts,
    check_images,
    check_labels,
    check_learning_rate,
    check_preprocessing,
)
from dp_core.distillation.storage import decode, describe_encoding, describe_space, digest_of_contents, encode
from dp_core.errors import UserError
from dp_core.files import replacing_together, room_for


@dataclass(frozen=True, eq=False)
class DistilledSet:
    """Distilled images with labels, and the preprocessing that real images need to meet them.

    The images live in the space of `preprocess`; whoever trains on `training_data()` and evaluates on anything but
    `preprocess(real images)` measures nothing.

    Args:
        images: float32 [N, C, H, W], in the space of `preprocessing`.
        labels: int64 [N], or float32 [N, classes] for soft labels, whose rows are ≥ 0 and sum to 1 within 1e-3.
        preprocessing: maps real images in [0, 1] to the same space.
        class_names: one for each class, in the order of the labels.
        images_per_class: ipc, at least 1.
        learning_rate: the rate learned with the images, positive, if the method learns one.
        provenance: method and its settings, digest of the source, seed, versions, cost.
        quality: what evaluations of the set found, plain JSON values; often added later, see `with_quality`.

    Raises:
        UserError: a part is not as described, or parts do not fit each other.
        TypeError, ValueError: `quality` holds something that is not JSON, NaN for instance.
    """

    images: Tensor
    labels: Tensor
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    images_per_class: int
    learning_rate: float | None
    provenance: Mapping[str, Any]
    quality: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_counts(self.images_per_class, self.classes)
        check_learning_rate(self.learning_rate)
        check_images(self.images, self.labels, self.images_per_class, self.classes)
        check_labels(self.labels, self.images_per_class, self.classes)
        check_preprocessing(self.preprocessing, self.images)
        json.dumps(dict(self.quality), allow_nan=False)  # now, and not after the hours of which it is to be saved

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
        """SHA-256, 64 hex digits, of all that training on the set depends on: everything but provenance and quality."""
        tensors = {"images": self.images, "labels": self.labels}
        if isinstance(self.preprocessing, ZCA):
            tensors |= {"zca_mean": self.preprocessing.mean, "zca_matrix": self.preprocessing.matrix}
        facts = {
            "preprocessing": describe_space(self.preprocessing),
            "class_names": list(self.class_names),
            "learning_rate": None if self.learning_rate is None else float(self.learning_rate),
        }
        return digest_of_contents(facts, tensors)

    def training_data(self) -> tuple[Tensor, Tensor]:
        """Return copies of images (float32 [N, C, H, W] in the set's own space) and labels."""
        return self.images.clone(), self.labels.clone()

    def preprocess(self, images: Tensor) -> Tensor:
        """Map real images, float [N, C, H, W] in [0, 1], to the space of `training_data`."""
        return self.preprocessing(images)

    def check_fits(self, image_shape: tuple[int, int, int], class_names: tuple[str, ...]) -> None:
        """Raise UserError unless the set is for images of this shape and these classes.

        Names are compared where both sides have them: data without names call their classes "0", "1" and so on.
        """
        if self.image_shape != image_shape:
            raise UserError(f"The distilled set has images of shape {self.image_shape}, the data {image_shape}.")
        named = not {self.class_names, class_names} & {tuple(map(str, range(self.classes)))}
        if len(class_names) != self.classes or (named and self.class_names != class_names):
            raise UserError(
                f"The distilled set has {self.classes} classes ({', '.join(self.class_names[:3])}, …), "
                f"the data {len(class_names)} ({', '.join(class_names[:3])}, …)."
            )

    def rounded(self) -> DistilledSet:
        """Return the set with images and soft labels rounded to float16 values (still as float32), without `quality`.

        A distiller that optimises images does this last, so that what is evaluated is what is stored, in half the
        space. Rows of soft labels are not normalised again: rounding moves a sum of 1 by 5e-4 at most. Images that
        are drawn and not optimised should stay as they are: `save` keeps them exactly, in 8 bits.

        Raises:
            UserError: an image has a value that float16 cannot hold, beyond ±65504.
        """
        images = self.images.half().float()
        if not torch.isfinite(images).all():
            raise UserError("A distilled set has images with values beyond ±65504, the range of its storage.")
        labels = self.labels.half().float() if self.labels.is_floating_point() else self.labels
        return replace(self, images=images, labels=labels, quality={})

    def with_quality(self, quality: Mapping[str, Any]) -> DistilledSet:
        """Return the set with these entries (plain JSON values) added to its `quality`, newer ones for older."""
        return replace(self, quality={**self.quality, **quality})

    def save(self, path: Path) -> None:
        """Write `path` (safetensors) and the card beside it: both or, on any error, neither.

        The encoding (see `storage`) is the smallest that loses nothing; the card names it.

        Raises:
            UserError: the disk is full. A set that was there before is still there.
        """
        tensors = encode(self.images, self.labels, self.preprocessing)
        card = {
            "format": FORMAT,
            "encoding": describe_encoding(tensors),
            "preprocessing": describe_space(self.preprocessing),
            "class_names": list(self.class_names),
            "images_per_class": self.images_per_class,
            "learning_rate": self.learning_rate,
            "digest": self.digest,
            "provenance": dict(self.provenance),
            "quality": dict(self.quality),
        }
        # The card is renamed last: a set without a card is not there. Written by safetensors itself, the file could be
        # read by its owner alone, and a full disk would not be an OSError.
        with room_for(path), replacing_together(path, card_path(path)) as (new, new_card):
            new.write_bytes(bytes_of(tensors))
            write_card(new_card, card, {"tensors": new})

    def update_card(self, path: Path) -> None:
        """Rewrite provenance and quality in the card of the set saved at `path`; its tensors are not touched.

        Raises:
            UserError: the set there is missing, damaged or another than this, or the disk is full; then the card is as
                it was.
        """
        if DistilledSet.load(path).digest != self.digest:
            raise UserError(f"{path} holds another distilled set than the one its card was to be rewritten for.")
        card = read_set_card(path)
        card |= {"provenance": dict(self.provenance), "quality": dict(self.quality)}
        with room_for(card_path(path)):
            write_card(card_path(path), card, {"tensors": path})

    @staticmethod
    def load(path: Path | str) -> DistilledSet:
        """Read what `save` wrote, bit for bit.

        Raises:
            UserError: the set or its card is missing, damaged, or was edited since (digest mismatch).
        """
        path = Path(path)
        card = read_set_card(path)
        try:
            images, labels, preprocessing = decode(tensors_of(path.read_bytes()), card["preprocessing"])
            found = DistilledSet(
                images=images,
                labels=labels,
                preprocessing=preprocessing,
                class_names=tuple(card["class_names"]),
                images_per_class=card["images_per_class"],
                learning_rate=card["learning_rate"],
                provenance=card["provenance"],
                quality=card.get("quality", {}),
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(f"{path} is not a readable distilled set: {str(error).rstrip('.')}.") from error
        if card.get("digest", found.digest) != found.digest:
            raise UserError(
                f"{path} gives other values here than those that were saved: the digest in its card differs."
            )
        return found
