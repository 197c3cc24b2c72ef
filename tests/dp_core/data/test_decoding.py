from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from dp_core.data.decoding import EncodedImage, decode_all
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import Array, encode, random_images


def decode(contents: list[bytes], batch: int = 4) -> Array:
    images = [EncodedImage(content, f"place {i}") for i, content in enumerate(contents)]
    batches = [images[start : start + batch] for start in range(0, len(images), batch)]
    return np.concatenate(list(decode_all(lambda: batches)))


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def save(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(6, 5, 3), (64, 65, 3)])
def test_pixels_survive_in_order(shape: tuple[int, ...]) -> None:
    images = random_images(11, shape)
    found = decode([encode(image) for image in images])
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.stack(images).transpose(0, 3, 1, 2))


def test_grey_images_stay_one_channel() -> None:
    images = random_images(6, (6, 5))
    assert np.array_equal(decode([encode(image) for image in images]), np.stack(images)[:, None])


def test_black_and_white_images_are_grey() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (6, 5)).astype(bool)
    assert np.array_equal(decode([save(Image.fromarray(bits))])[0, 0], bits * np.uint8(255))


def test_one_colour_image_at_the_end_makes_all_rgb() -> None:
    grey, colour = random_images(9, (6, 5)), random_images(1)
    found = decode([encode(image) for image in [*grey, *colour]])
    assert found.shape == (10, 3, 6, 5)
    assert all(np.array_equal(found[i, channel], grey[i]) for i in range(9) for channel in range(3))
    assert np.array_equal(found[9], colour[0].transpose(2, 0, 1))


def test_palettes_are_resolved_and_transparency_dropped() -> None:
    rgb = Image.fromarray(random_images(1)[0])
    palette = rgb.quantize(4)
    rgba = rgb.copy()
    rgba.putalpha(7)
    found = decode([save(palette), save(rgba)])
    assert np.array_equal(found[0], np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    assert np.array_equal(found[1], np.asarray(rgb).transpose(2, 0, 1))


def test_sixteen_bit_images_are_refused() -> None:
    deep = Image.fromarray(np.arange(30, dtype=np.uint16).reshape(6, 5))
    with pytest.raises(UserError, match=r"place 0: .* not 8 bits a channel"):
        decode([save(deep)])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("side", [16, 64])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"not an image at all",
        lambda content: content[: len(content) // 2],
        lambda content: content[:60] + b"\0" * (len(content) - 60),
    ],
    ids=["empty", "text", "cut", "zeroed"],
)
def test_the_first_bad_image_is_named(spoil: Callable[[bytes], bytes], side: int) -> None:
    contents = [encode(image) for image in random_images(9, (side, side, 3))]
    for bad in (5, 7):
        contents[bad] = spoil(contents[bad])
    with pytest.raises(UserError, match=r"^place 5: the image cannot be decoded") as caught:
        decode(contents)
    assert "\n" not in str(caught.value)


def test_mixed_sizes_name_both_sizes_and_places() -> None:
    contents = [encode(image) for image in [*random_images(6), *random_images(1, (5, 6, 3))]]
    with pytest.raises(UserError, match=r"^place 6: the image is 6x5 pixels, but the one at place 0 is 5x6, "):
        decode(contents)
