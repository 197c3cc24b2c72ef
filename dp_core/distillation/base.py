"""What every distiller does."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from dp_core.data import ImageDataset, channel_statistics
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.errors import UserError

# Called now and then with (iterations done, iterations in all, current loss).
Progress = Callable[[int, int, float], None]
# Called with the iterations done and the set as it is.
Snapshot = Callable[[int, DistilledSet], None]


@dataclass(frozen=True)
class Workspace:
    """Where a distiller works: what it may use and whom it tells.

    None of it changes the set that is made, but for two things: validation images where the distiller chooses by them,
    and `checkpoint_every` where the distillation diverges, as it goes back to the last checkpoint then.

    Args:
        progress: is told how far it is.
        say: is told in a sentence what happens now and then (a phase begins, a divergence is taken back).
        folder: checkpoints of this one set are kept in it, and a distillation that finds one there goes on from it to
            the same result; None keeps none. The folder is the caller's to remove.
        checkpoint_every: iterations from one checkpoint to the next, at least 1.
        experts: folder of the expert buffers, which distillers share; needed by those that match trajectories.
        validation: held-back real images on which the distillers that choose a checkpoint choose it; None takes the
            last one.
        snapshot: is shown the set now and then, at every checkpoint.
    """

    progress: Progress = lambda done, total, loss: None
    say: Callable[[str], None] = lambda sentence: None
    folder: Path | None = None
    checkpoint_every: int = 100
    experts: Path | None = None
    validation: ImageDataset | None = None
    snapshot: Snapshot = lambda iterations, distilled: None


HERE = Workspace()


class Distiller(Protocol):
    """Makes a distilled set from a training set. A new one is a file with such a class and a line in DISTILLERS.

    Its fields are its settings; with the source's digest, ipc and seed they identify the set that it makes.
    """

    def settings(self) -> dict[str, Any]:
        """Return method name and settings as a plain dict."""

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """Raise UserError if the set cannot be made; costs next to nothing."""

    def distill(
        self, source: ImageDataset, images_per_class: int, seed: int, workspace: Workspace = HERE
    ) -> DistilledSet:
        """Make the set.

        Args:
            source: the training images; never validation or test images.
            images_per_class: ipc, at least 1 and at most the images of the smallest class.
            seed: of every random choice; the same seed on the same machine gives the same set.
            workspace: where to keep checkpoints and whom to tell.

        Raises:
            UserError: ipc out of range, or the distillation diverges however small its steps.
        """


def standardisation_of(source: ImageDataset) -> Standardisation:
    """Return the standardisation by the channel statistics of `source`; a constant channel counts as of deviation 1.

    Raises:
        UserError: all channels are constant.
    """
    statistics = channel_statistics(source)
    if not any(statistics.std):
        raise UserError(
            "all training images are of one and the same colour; if their shapes are in their transparency, set "
            "'data.ground' to another colour."
        )
    return Standardisation(statistics.mean, tuple(std or 1.0 for std in statistics.std))


def pixels(source: ImageDataset, indices: torch.Tensor) -> torch.Tensor:
    """Return the images at `indices` as float32 [n, C, H, W] in [0, 1]."""
    return source.images[indices].float().div_(255)


def check_images_per_class(source: ImageDataset, images_per_class: int) -> None:
    """Raise UserError unless every class of `source` has `images_per_class` images, and at least one is asked for."""
    if images_per_class < 1:
        raise UserError(f"A distilled set needs at least 1 image a class, not {images_per_class}.")
    for label, name in enumerate(source.class_names):
        available = len(source.class_indices(label))
        if available < images_per_class:
            raise UserError(f"The class '{name}' has {available} images, fewer than the {images_per_class} asked for.")


def draw_images(source: ImageDataset, images_per_class: int, draw: torch.Generator) -> torch.Tensor:
    """Return indices of `images_per_class` random images of each class, class after class; int64 [ipc × classes]."""
    chosen = []
    for label in range(source.classes):
        members = source.class_indices(label)
        chosen.append(members[torch.randperm(len(members), generator=draw)[:images_per_class]])
    return torch.cat(chosen)


def provenance(
    settings: dict[str, Any], source: ImageDataset, seed: int, *, seconds: float, image_gradients: int
) -> dict[str, Any]:
    """Return what a card says of how a set was made."""
    return {
        "distiller": settings,
        "source_digest": source.digest,
        "source_images": len(source),
        "seed": seed,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cost": {"seconds": round(seconds, 3), "image_gradients": image_gradients},
    }
