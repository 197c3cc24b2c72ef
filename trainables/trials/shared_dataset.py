"""An image data set that travels through Ray's object store and is used in place by every worker of a node."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dp_core.data import ImageDataset


@dataclass(frozen=True, eq=False)
class SharedDataset:
    """An ImageDataset as NumPy arrays, which Ray maps into workers without a copy."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    digest: str

    @staticmethod
    def of(dataset: ImageDataset) -> SharedDataset:
        """Wrap `dataset`."""
        return SharedDataset(dataset.images.numpy(), dataset.labels.numpy(), dataset.class_names, dataset.digest)

    def open(self) -> ImageDataset:
        """Return the data set on top of the shared, read-only memory."""
        return ImageDataset(_tensor(self.images), _tensor(self.labels), self.class_names, self.digest)


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    with warnings.catch_warnings():
        # Nothing in Winnow writes to a data set, which is all that torch warns of here.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
