"""What a run's images are, as its record has it: enough for tables and for how far it is, wherever the images are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_core.data import Splits
    from search.runs.progress import Progress

IMAGE = "image"
"""Key of run.yaml: shape and class names of the images."""


@dataclass(frozen=True)
class ImageFacts:
    """Facts of the three splits.

    Attributes:
        digests: of the splits, by name.
        train: number of training images.
        image_shape: channels, height, width.
        class_names: in the order of labels.
    """

    digests: Mapping[str, str]
    train: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of the training images."""
        return self.digests["train"]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def facts_of(splits: Splits) -> ImageFacts:
    """Return the facts of splits that are at hand."""
    train = splits.train
    return ImageFacts(digests(splits), len(train), train.image_shape, train.class_names)


def recorded_facts(recorded: Mapping[str, Any]) -> ImageFacts | None:
    """Return the facts that run.yaml has; None for a run from before there were any."""
    found = recorded.get(IMAGE)
    if found is None:
        return None
    channels, height, width = found["shape"]
    train = recorded["splits"]["train"]
    return ImageFacts(recorded["data"], train, (channels, height, width), tuple(found["classes"]))


def say_data(splits: Splits, progress: Progress) -> None:
    """Say which files became which split, and what is odd about the images."""
    for sentence in splits.sentences():
        progress.say("data", sentence)


def digests(splits: Splits) -> dict[str, str]:
    """Return the digests of the three splits."""
    return {"train": splits.train.digest, "validation": splits.validation.digest, "test": splits.test.digest}
