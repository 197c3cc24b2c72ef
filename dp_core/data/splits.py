"""Train, validation and test: three disjoint sets of images with three different jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dp_core.data.dataset import ImageDataset, constant_channels
from dp_core.data.source import MEMORY, Origin
from dp_core.errors import UserError
from dp_core.seeds import derive_seed

_NAMED = 5  # classes that a sentence names


@dataclass(frozen=True)
class Splits:
    """The three disjoint splits of one data set.

    Attributes:
        train: what is distilled and what retraining uses.
        validation: held back from train; scores proxies and picks checkpoints.
        test: touched once per retrained model, for the leaderboard.
        origin: which files became which split.
    """

    train: ImageDataset
    validation: ImageDataset
    test: ImageDataset
    origin: Origin = MEMORY

    def described(self) -> dict[str, str]:
        """Return, for each split by name, how many images it has and what they are from."""
        return {
            "train": f"{len(self.train):,} images from {self.origin.train}",
            "validation": f"{len(self.validation):,} held back from them",
            "test": f"{len(self.test):,} from {self.origin.test}",
        }

    def notes(self) -> tuple[str, ...]:
        """Return what else a user should know of the data, a clause each, without a full stop."""
        return *self.origin.notes, *self._oddities()

    def sentences(self) -> tuple[str, ...]:
        """Return what is said of the data before anything starts: how they were split, and what is odd."""
        return "; ".join(f"{split}: {told}" for split, told in self.described().items()), *self.notes()

    def _oddities(self) -> Iterator[str]:
        missing = sorted(set(range(self.test.classes)) - set(self.test.labels.unique().tolist()))
        if missing:
            names = ", ".join(self.test.class_names[label] for label in missing[:_NAMED])
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            yield f"classes without a test image: {names}{more}"
        for channel, value in constant_channels(self.train).items():
            yield f"channel {channel + 1} of the training images is {value} everywhere: its deviation counts as 1"


def hold_back(dataset: ImageDataset, fraction: float, seed: int) -> tuple[ImageDataset, ImageDataset]:
    """Split `dataset` into (train, validation), holding back `fraction` of every class.

    Which images those are, see `split_indices`; both parts keep the order of `dataset`.

    Args:
        dataset: what to split; every class needs at least two images.
        fraction: between 0 and 1, both excluded.
        seed: any integer.

    Raises:
        UserError: the fraction is outside (0, 1), or leaves a class without an image in either part.
    """
    train, validation = split_indices(dataset.labels, dataset.class_names, fraction, seed)
    return dataset.select(train), dataset.select(validation)


def split_indices(labels: Tensor, class_names: Sequence[str], fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return which images are (train, validation), int64 and ascending, for data that are never in memory as a whole.

    A class of n images gives round(fraction · n) of them to validation (halves go up). Which ones depends on the
    seed, the class and n alone: no global random state is used, and what is ranked is the raw stream of a generator
    that NumPy promises not to change, so another machine or version holds back the same images.

    Args:
        labels: int64 [N], of all images.
        class_names: one name a class, in label order.
        fraction: see `hold_back`.
        seed: see `hold_back`.

    Raises:
        UserError: see `hold_back`.
    """
    if not 0 < fraction < 1:
        raise UserError(f"The validation fraction must lie between 0 and 1, both excluded, but it is {fraction}.")
    classes = labels.cpu().numpy()
    held = np.zeros(len(classes), dtype=bool)
    for c, name in enumerate(class_names):
        members = np.flatnonzero(classes == c)
        count = int(np.floor(fraction * len(members) + 0.5))
        _check_class(name, len(members), count, fraction)
        held[members[_ranking(seed, c, len(members))[:count]]] = True
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))


def _ranking(seed: int, c: int, n: int) -> npt.NDArray[np.intp]:
    raw = np.random.PCG64(derive_seed(seed, "hold back", c)).random_raw(n)
    return np.argsort(np.asarray(raw), kind="stable")


def _check_class(name: str, images: int, held_back: int, fraction: float) -> None:
    if 0 < held_back < images:
        return
    part = "validation" if held_back == 0 else "train"
    raise UserError(
        f"Holding back {fraction} of the training images leaves class '{name}', which has {images}, "
        f"without a {part} image."
    )
