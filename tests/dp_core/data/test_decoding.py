from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dp_core.data.decoding import EncodedImage, decode_all
from dp_core.data.findings import Findings
from dp_core.data.reading import Colour, Reading
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import Array, encode, random_images


def decode(
    contents: list[bytes], batch: int = 4, ground: Colour = (128, 128, 128), findings: Findings | None = None
) -> Array:
    images = [EncodedImage(content, f"place {i}") for i, content in enumerate(contents)]
    batches = [images[start : start + batch] for start in range(0, len(images), batch)]
    return np.concatenate(list(decode_all(lambda: batches, ground, findings)))


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def save(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
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


def test_palettes_are_resolved_and_opaque_alpha_changes_nothing() -> None:
    rgb = Image.fromarray(random_images(1)[0])
    palette = rgb.quantize(4)
    rgba = rgb.copy()
    rgba.putalpha(255)
    findings = Findings()
    found = decode([save(palette), save(rgba)], findings=findings)
    assert np.array_equal(found[0], np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    assert np.array_equal(found[1], np.asarray(rgb).transpose(2, 0, 1))
    assert findings == Findings()


# How a picture without symmetry lies in a file, by orientation tag: the EXIF standard (CIPA DC-008) says which sides of
# the picture the stored row 0 and column 0 are.
PICTURE = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED = {
    1: PICTURE,  # top, left
    2: PICTURE[:, ::-1],  # top, right
    3: PICTURE[::-1, ::-1],  # bottom, right
    4: PICTURE[::-1],  # bottom, left
    5: PICTURE.T,  # left, top
    6: PICTURE[:, ::-1].T,  # right, top
    7: PICTURE[::-1, ::-1].T,  # right, bottom
    8: PICTURE[::-1].T,  # left, bottom
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("tag", STORED)
def test_images_are_turned_as_their_tag_says(tag: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    lossless = {"lossless": True} if kind == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[tag])).convert("RGB")
    findings = Findings()
    found = decode([save(stored, kind, exif=exif, **lossless)], findings=findings)
    assert np.array_equal(found[0], np.stack([PICTURE] * 3))
    if kind != "TIFF":  # Pillow turns these by itself
        assert findings.turned == (tag != 1)


def test_turned_and_upright_images_have_one_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(Image.fromarray(np.ascontiguousarray(STORED[6])), exif=exif)
    found = decode([turned, save(Image.fromarray(PICTURE))])
    assert np.array_equal(found[:, 0], [PICTURE, PICTURE])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
def test_a_damaged_tag_is_no_reason_to_refuse_an_image(exif: bytes) -> None:
    image = random_images(1, (8, 8, 3))[0]
    assert np.array_equal(decode([save(Image.fromarray(image), exif=exif)])[0], image.transpose(2, 0, 1))


def see_through(grey: int) -> tuple[list[bytes], Array]:
    """Return images of one colour whose left half alone is opaque, of every kind that can be so, and the alpha."""
    alpha = np.zeros((2, 4), dtype=np.uint8)
    alpha[:, :2] = 255
    plain = Image.new("L", (4, 2), grey)
    rgba, la = plain.convert("RGB"), plain.copy()
    for image in (rgba, la):
        image.putalpha(Image.fromarray(alpha))
    palette = Image.fromarray(alpha // 255)
    palette = Image.frombytes("P", (4, 2), palette.tobytes())
    palette.putpalette([9, 9, 9, grey, grey, grey])
    key = Image.fromarray(np.where(alpha == 255, grey, 7).astype(np.uint8))
    return [save(rgba), save(la), save(palette, transparency=0), save(key, transparency=7)], alpha


@pytest.mark.parametrize("shade", [0, 255])
@pytest.mark.parametrize(("ground", "level"), [("grey", 128), ("white", 255), ("black", 0)])
def test_what_is_transparent_lies_on_the_ground(ground: str, level: int, shade: int) -> None:
    contents, alpha = see_through(shade)
    findings = Findings()
    found = decode(contents, ground=Reading(ground=ground).colour, findings=findings)
    assert np.array_equal(found, np.broadcast_to(np.where(alpha == 255, shade, level), (4, 3, 2, 4)))
    assert findings == Findings(composed=4)


def test_grey_transparent_images_stay_grey_on_grey_and_take_colour_from_the_ground() -> None:
    contents, alpha = see_through(0)
    assert np.array_equal(decode([contents[1]])[0], np.where(alpha == 255, 0, 128)[None])
    coloured = decode([contents[1]], ground=(255, 128, 0))
    assert np.array_equal(coloured[0, :, 0, 3], [255, 128, 0])


def test_half_transparent_pixels_are_mixed() -> None:
    image = Image.new("RGBA", (1, 1), (200, 0, 0, 51))  # a fifth
    assert decode([save(image)], ground=(100, 100, 100))[0, :, 0, 0].tolist() == [120, 80, 80]


def test_the_first_of_several_frames_is_used() -> None:
    first, second = (Image.fromarray(image) for image in random_images(2))
    findings = Findings()
    found = decode([save(first, save_all=True, append_images=[second])], findings=findings)
    assert np.array_equal(found[0], np.asarray(first).transpose(2, 0, 1))
    assert findings == Findings(animated=1)


def test_inks_are_turned_into_colours() -> None:
    image = Image.new("CMYK", (2, 2), (0, 255, 255, 0))
    assert decode([save(image, "TIFF")])[0, :, 0, 0].tolist() == [255, 0, 0]


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
