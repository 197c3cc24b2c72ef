"""Digests of images in memory: equal contents have equal digests, whoever made them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

_BYTES = 16  # of an image's digest: among 10^9 images two would be equal by chance with a probability below 10^-20
_CHUNK = 1024  # images that are copied together, if they do not lie one after the other


def image_digests(images: Tensor) -> list[bytes]:
    """Return one digest for each image of uint8 [N, C, H, W], from its pixels alone."""
    chunks = (images[start : start + _CHUNK].cpu().numpy() for start in range(0, len(images), _CHUNK))
    return [digest for chunk in chunks for digest in array_digests(chunk)]


def array_digests(images: npt.NDArray[np.uint8]) -> list[bytes]:
    """Return one digest for each image of an array [N, C, H, W]."""
    return [hashlib.blake2b(image.data, digest_size=_BYTES).digest() for image in np.ascontiguousarray(images)]


def contents_digest(shape: Sequence[int], digests: Iterable[bytes], labels: Tensor, class_names: Sequence[str]) -> str:
    """Return the SHA-256, 64 hex digits, of a data set: its images, by their digests, labels and class names.

    Args:
        shape: (C, H, W) of every image.
        digests: one for each image, in order.
        labels: int64 [N].
        class_names: in label order.
    """
    digest = hashlib.sha256(repr((tuple(map(int, shape)), tuple(class_names))).encode())
    digest.update(labels.cpu().numpy().astype("<i8").tobytes())
    for each in digests:
        digest.update(each)
    return digest.hexdigest()
