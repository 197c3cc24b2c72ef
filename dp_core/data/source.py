"""The contract between a reader of image data and the cache that keeps what it decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dp_core.data.findings import Findings
from dp_core.data.reading import USUAL, Reading

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Contents:
    """What a reader found.

    Attributes:
        class_names: one name a class, in label order.
        train_labels: int64 [N_train], already checked to lie in 0 to classes - 1.
        test_labels: int64 [N_test], likewise.
        batches: uint8 [B, C, H, W] arrays, gone over once: every train image in order, then every test image, all of
            one shape. Only a few batches need to be in memory at a time.
        findings: complete once the batches have been gone over.
    """

    class_names: tuple[str, ...]
    train_labels: Labels
    test_labels: Labels
    batches: Iterable[Pixels]
    findings: Findings = field(default_factory=Findings)


@dataclass(frozen=True)
class Origin:
    """Which files or folders became which split, as a user is told.

    Attributes:
        train: what the training and the validation images are from.
        test: what the test images are from.
        notes: what else should be known, a clause each, without a full stop.
    """

    train: str
    test: str
    notes: tuple[str, ...] = ()


MEMORY = Origin("memory", "memory")
"""The origin of data that were not opened from anywhere."""


@dataclass(frozen=True, eq=False)
class Source:
    """Files that hold a train and a test split, and how to read them.

    Attributes:
        kind: the reader's name; readers of different kinds never share a cache entry.
        files: every file that is read, under a name that enters the content digest (so it must not depend on where
            the files lie), in the order in which they are read.
        read: reads and checks everything; called only if the cache does not hold the files' contents yet.
        origin: which of the files became which split.
        columns: columns that the user named and that are not those the reader would have taken, by role.
        reading: how the files are read; the ground that transparent images are laid on.
    """

    kind: str
    files: Mapping[str, Path]
    read: Callable[[], Contents]
    origin: Origin
    columns: Mapping[str, str] = field(default_factory=dict)
    reading: Reading = USUAL
