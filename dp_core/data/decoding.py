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
from PIL import ExifTags, Image, UnidentifiedImageError

from dp_core.data.findings import Findings
from dp_core.data.reading import USUAL, Colour
from dp_core.data.source import Pixels
from dp_core.errors import UserError

_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_DEEP_MODES = ("I", "F")  # 16- and 32-bit pixels; narrowing them needs a scale that only the user knows
# Pixels an image needs for threads to be used. On CIFAR's PNGs, two threads on two cores pass the interpreter lock to
# and fro so often that they took 1.1 s where one took 0.9 s; they took 0.87 of one thread's time on 96x96 JPEGs and
# 0.62 on 224x224. Where between 32 and 96 it turns was not measured.
_WORTH_THREADS = 64 * 64
# How an image is set upright, by the value of its orientation tag; 1 needs nothing, others mean nothing.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class EncodedImage(NamedTuple):
    """The bytes of an image file, and the place they came from as an error message names it."""

    content: bytes
    place: str


class ImageFormat(NamedTuple):
    """What all images of a data set are decoded to and laid on; `place` is that of the one that settled the size."""

    mode: str  # Pillow's: "L" or "RGB"
    width: int
    height: int
    place: str
    ground: Colour

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of a decoded image."""
        return len(self.mode), self.height, self.width


def decode_all(
    batches: Callable[[], Iterable[Sequence[EncodedImage]]],
    ground: Colour = USUAL.colour,
    findings: Findings | None = None,
) -> Iterator[Pixels]:
    """Decode every batch to uint8 [B, C, H, W].

    Images are turned as their orientation tag says, what is transparent lies on `ground`, palettes are resolved, and of
    several frames the first is taken. If every image is grey, C is 1; otherwise C is 3 and grey images are repeated
    over the channels. Images of 64x64 pixels or more are decoded in `torch.get_num_threads()` threads (Pillow releases
    the interpreter lock while it decodes), so a trial that is bound to one core stays on it; smaller ones in one
    thread, which is faster for them.

    Args:
        batches: starts an iteration over all images, in batches small enough to hold in memory decoded. It is called
            twice: grey images have to be looked at up to the first one in colour before anything can be decoded.
        ground: red, green and blue, 0 to 255 each.
        findings: is added to as images are decoded.

    Raises:
        UserError: an image cannot be decoded, has more than 8 bits a channel, or differs in size from the first.
    """
    format = common_format(batches(), ground)
    if format is not None:
        yield from decode_as(format, batches(), findings)


def common_format(batches: Iterable[Sequence[EncodedImage]], ground: Colour = USUAL.colour) -> ImageFormat | None:
    """Return what `decode_all` decodes these images to, or None if there are none.

    The first image is decoded; of the others, up to the first one in colour, only headers are looked at.

    Raises:
        UserError: an image that was looked at cannot be decoded or has more than 8 bits a channel.
    """
    size: tuple[int, int, str] | None = None
    for image in itertools.chain.from_iterable(batches):
        if size is None:
            size = *_upright(image, Findings()).size, image.place
        if _is_colour(_opened(image), ground):
            return ImageFormat("RGB", *size, ground)
    return None if size is None else ImageFormat("L", *size, ground)


def decode_as(
    format: ImageFormat, batches: Iterable[Sequence[EncodedImage]], findings: Findings | None = None
) -> Iterator[Pixels]:
    """Decode every batch to uint8 [B, C, H, W] like `decode_all`, to a format that is known already."""
    workers, findings = _workers(format), findings or Findings()
    with ThreadPoolExecutor(workers) as pool:
        run = map if workers == 1 else pool.map  # what is one thread's work is done in this one
        for batch in batches:
            pixels = np.empty((len(batch), format.height, format.width, len(format.mode)), dtype=np.uint8)
            step = math.ceil(len(batch) / workers)  # whole runs of rows: the first bad row is reported
            parts = [slice(start, start + step) for start in range(0, len(batch), step)]
            findings.add(list(run(_decode_part, [batch[p] for p in parts], repeat(format), [pixels[p] for p in parts])))
            yield np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _workers(format: ImageFormat) -> int:
    return 1 if format.width * format.height < _WORTH_THREADS else torch.get_num_threads()


def _decode_part(part: Sequence[EncodedImage], format: ImageFormat, target: Pixels) -> Findings:
    found = Findings()
    for row, encoded in enumerate(part):
        image = _upright(encoded, found)
        if image.size != (format.width, format.height):
            raise UserError(
                f"{encoded.place}: the image is {image.width}x{image.height} pixels, but the one at {format.place} is "
                f"{format.width}x{format.height}, and all must have one size."
            )
        try:
            opaque = _composed(image, format.ground, found)
            decoded = opaque if opaque.mode == format.mode else opaque.convert(format.mode)
            target[row] = np.asarray(decoded).reshape(target.shape[1:])
        except Exception as error:  # Pillow's decoders raise many types: OSError, SyntaxError, ValueError, …
            raise _undecodable(encoded, error) from error
    return found


def _opened(encoded: EncodedImage) -> Image.Image:
    """Read the image's header only."""
    try:
        image = Image.open(io.BytesIO(encoded.content))
    except Exception as error:  # as above
        raise _undecodable(encoded, error) from error
    if image.mode.startswith(_DEEP_MODES):
        raise UserError(
            f"{encoded.place}: the image's pixels are of Pillow mode {image.mode}, not 8 bits a channel; "
            "convert them first, as only you know which range of values matters."
        )
    return image


def _upright(encoded: EncodedImage, found: Findings) -> Image.Image:
    """Return the image decoded and turned as its orientation tag says."""
    image = _opened(encoded)
    try:
        found.animated += bool(getattr(image, "is_animated", False))
        image.load()
    except Exception as error:  # as above
        raise _undecodable(encoded, error) from error
    turn = _UPRIGHT.get(_orientation(image))
    found.turned += turn is not None
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged tag says nothing, but the pixels are there; Pillow raises many types here, too
        return 1


def _composed(image: Image.Image, ground: Colour, found: Findings) -> Image.Image:
    """Return the image without transparency: on `ground`, where it has any."""
    if not image.has_transparency_data:
        return image
    transparent = image.convert("RGBA")
    least_opaque, _ = transparent.getchannel("A").getextrema()
    if least_opaque == 255:
        return transparent
    found.composed += 1
    return Image.alpha_composite(Image.new("RGBA", image.size, (*ground, 255)), transparent)


def _is_colour(image: Image.Image, ground: Colour) -> bool:
    return image.mode not in _GREY_MODES or (image.has_transparency_data and len(set(ground)) > 1)


def _undecodable(encoded: EncodedImage, error: Exception) -> UserError:
    reason = "not an image file that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error)
    return UserError(f"{encoded.place}: the image cannot be decoded ({reason}).")
