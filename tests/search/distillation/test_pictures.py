from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.distillation import DistilledSet
from search.distillation.pictures import Album, inverse_of


def made_of(pixels: Tensor, space: Preprocessing, classes: int) -> DistilledSet:
    ipc = len(pixels) // classes
    return DistilledSet(
        images=space(pixels),
        labels=torch.arange(classes).repeat_interleave(ipc),
        preprocessing=space,
        class_names=tuple(f"class {c}" for c in range(classes)),
        images_per_class=ipc,
        learning_rate=None,
        provenance={},
    )


def drawn(images: int, channels: int, seed: int = 0) -> Tensor:
    """Return images of 4×5 whose values are those of 8 bits."""
    levels = torch.randint(0, 256, (images, channels, 4, 5), generator=torch.Generator().manual_seed(seed))
    return levels.float() / 255


def cell(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return the image at a place of the grid: 4×5 pixels, and two of white before, between and after them."""
    top, left = 2 + row * 6, 2 + column * 7
    return picture[top : top + 4, left : left + 5]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_row_is_a_class_and_a_cell_the_pixels_of_an_image(tmp_path: Path, channels: int, mode: str) -> None:
    pixels = drawn(6, channels)
    space = Standardisation((0.4,) * channels, (0.2,) * channels)
    path = Album(tmp_path / "images").add("2ipc", made_of(pixels, space, classes=3))
    assert path == tmp_path / "images" / "2ipc.png"
    picture = Image.open(path)
    assert (picture.mode, picture.size) == (mode, (2 + 2 * 7, 2 + 3 * 6))
    found = np.asarray(picture).reshape(20, 16, channels)
    for index in range(6):
        expected = pixels[index].mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        assert np.abs(cell(found, index // 2, index % 2).astype(int) - expected.astype(int)).max() == 0
    assert (found[:2] == 255).all()
    assert (found[:, 7:9] == 255).all()


def test_at_most_ten_images_of_a_class_are_shown(tmp_path: Path) -> None:
    picture = Image.open(Album(tmp_path).add("x", made_of(drawn(24, 1), Standardisation((0.0,), (1.0,)), classes=2)))
    assert picture.size == (2 + 10 * 7, 2 + 2 * 6)


def test_whitened_images_are_pixels_again(tmp_path: Path) -> None:
    """Of the whitening that is fitted, the matrix has eigenvalues from 1/√(0.1 + a few) to 1/√0.1."""
    pixels = drawn(40, 3)
    space = ZCA.fit(pixels, eps=0.1)
    assert (inverse_of(space)(space(pixels)) - pixels).abs().max() < 1e-4
    picture = np.asarray(Image.open(Album(tmp_path).add("x", made_of(pixels[:4], space, classes=2))))
    expected = pixels[3].mul(255).round().permute(1, 2, 0).numpy().astype(int)
    assert np.abs(cell(picture, 1, 1).astype(int) - expected).max() <= 1


def test_what_is_no_pixel_is_cut_off(tmp_path: Path) -> None:
    space = Standardisation((0.5,), (0.5,))
    pixels = torch.cat([torch.full((1, 1, 4, 5), -3.0), torch.full((1, 1, 4, 5), 7.0)])
    picture = np.asarray(Image.open(Album(tmp_path).add("x", made_of(pixels, space, classes=2))))
    assert (cell(picture, 0, 0) == 0).all()
    assert (cell(picture, 1, 0) == 255).all()
