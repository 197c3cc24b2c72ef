"""Decoding many encoded images (PNG, JPEG, …) to uint8 arrays of one shape, in parallel."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from dp_core.data.source import Pixels
from dp_core.errors import UserError

_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_DEEP_MODES = ("I", "F")  # 16- and 32-bit pixels; narrowing them needs a scale that only the user knows
# Pixels an image needs for threads to be used. On CIFAR's PNGs, two threads on two cores pass the interpreter lock to
# and fro so often that they took 1.1 s where one took 0.9 s; they took 0.87 of one thread's time on 96x96 JPEGs and
# 0.62 on 224x224. Where between 32 and 96 it turns was not measured.
_WORTH_THREADS = 64 * 64


class EncodedImage(NamedTuple):
    """The bytes of an image file, and the place they came from as an error message names it."""

    content: bytes
    place: str


class ImageFormat(NamedTuple):
    """What all images of a data set are decoded to; `place` is that of the image that settled the size."""

    mode: str  # Pillow's: "L" or "RGB"
    width: int
    height: int
    place: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of a decoded image."""
        return len(self.mode), self.height, self.width


def decode_all(batches: Callable[[], Iterable[Sequence[EncodedImage]]]) -> Iterator[Pixels]:
    """Decode every batch to uint8 [B, C, H, W].

    If every image is grey, C is 1; otherwise C is 3 and grey images are repeated over the channels. Transparency is
    dropped, palettes are resolved, orientation tags are not applied. Images of 64x64 pixels or more are decoded in
    `torch.get_num_threads()` threads (Pillow releases the interpreter lock while it decodes), so a trial that is bound
    to one core stays on it; smaller ones in one thread, which is faster for them.

    Args:
        batches: starts an iteration over all images, in batches small enough to hold in memory decoded. It is called
            twice: grey images have to be looked at up to the first one in colour before anything can be decoded.

    Raises:
        UserError: an image cannot be decoded, has more than 8 bits a channel, or differs in size from the first.
    """
    format = common_format(batches())
    if format is not None:
        yield from decode_as(format, batches())


def common_format(batches: Iterable[Sequence[EncodedImage]]) -> ImageFormat | None:
    """Return what `decode_all` decodes these images to, or None if there are none.

    Only headers are looked at, of the images up to the first one in colour.

    Raises:
        UserError: an image that was looked at cannot be decoded or has more than 8 bits a channel.
    """
    size: tuple[int, int, str] | None = None
    for image in itertools.chain.from_iterable(batches):
        if size is None:
            size = *_opened(image).size, image.place
        if _is_colour(image):
            return ImageFormat("RGB", *size)
    return None if size is None else ImageFormat("L", *size)


def decode_as(format: ImageFormat, batches: Iterable[Sequence[EncodedImage]]) -> Iterator[Pixels]:
    """Decode every batch to uint8 [B, C, H, W] like `decode_all`, to a format that is known already."""
    workers = _workers(format)
    with ThreadPoolExecutor(workers) as pool:
        run = map if workers == 1 else pool.map  # what is one thread's work is done in this one
        for batch in batches:
            pixels = np.empty((len(batch), format.height, format.width, len(format.mode)), dtype=np.uint8)
            step = math.ceil(len(batch) / workers)  # whole runs of rows: the first bad row is reported
            parts = [slice(start, start + step) for start in range(0, len(batch), step)]
            list(run(_decode_part, [batch[p] for p in parts], repeat(format), [pixels[p] for p in parts]))
            yield np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _workers(format: ImageFormat) -> int:
    return 1 if format.width * format.height < _WORTH_THREADS else torch.get_num_threads()


def _decode_part(part: Sequence[EncodedImage], format: ImageFormat, target: Pixels) -> None:
    for row, encoded in enumerate(part):
        image = _opened(encoded)
        if image.size != (format.width, format.height):
            raise UserError(
                f"{encoded.place}: the image is {image.width}x{image.height} pixels, but the one at {format.place} is "
                f"{format.width}x{format.height}, and all must have one size."
            )
        try:
            decoded = image if image.mode == format.mode else image.convert(format.mode)
            target[row] = np.asarray(decoded).reshape(target.shape[1:])
        except Exception as error:  # Pillow's decoders raise many types: OSError, SyntaxError, ValueError, …
            raise _undecodable(encoded, error) from error


def _opened(encoded: EncodedImage) -> Image.Image:
    """Read the image's header only."""
    try:
        image = Image.open(io.BytesIO(encoded.content))
    except Exception as error:  # as above
        raise _undecodable(encoded, error) from error
    if image.mode.startswith(_DEEP_MODES):
        raise UserError(f"{encoded.place}: the image's pixels are of Pillow mode {image.mode}, not 8 bits a channel.")
    return image


def _is_colour(encoded: EncodedImage) -> bool:
    return _opened(encoded).mode not in _GREY_MODES


def _undecodable(encoded: EncodedImage, error: Exception) -> UserError:
    reason = "not an image file that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error)
    return UserError(f"{encoded.place}: the image cannot be decoded ({reason}).")
