from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation import RDED, DistilledSet
from dp_core.distillation.base import standardisation_of
from dp_core.distillation.rded import crop_out, draw_boxes, most_realistic, stitch
from dp_core.distillation.teacher import train_teacher
from dp_core.errors import UserError
from tests.dp_core.small import random_dataset

TINY = {"name": "convnet", "depth": 1, "width": 4}


def boxes(count: int, image: tuple[int, int], smallest: float = 0.08, seed: int = 0) -> Tensor:
    return draw_boxes((1, count), image, smallest, torch.Generator().manual_seed(seed))[0]


def test_boxes_lie_inside_and_have_uniform_shares_of_the_area() -> None:
    left, top, right, bottom = boxes(20_000, (100, 200), smallest=0.2).numpy().T
    assert left.min() == 0
    assert top.min() == 0
    assert right.max() == 200
    assert bottom.max() == 100
    assert (left < right).all()
    assert (top < bottom).all()
    share = (right - left) * (bottom - top) / 20_000
    assert share.min() == pytest.approx(0.2, abs=0.01)
    # Uniform from 0.2 to 1: mean 0.6, deviation 0.8/√12; the standard errors are 0.0016.
    assert share.mean() == pytest.approx(0.6, abs=0.008)
    assert share.std() == pytest.approx(0.8 / 12**0.5, abs=0.008)
    assert (np.abs((right - left) - 2 * (bottom - top)) <= 2).all()  # the image's proportions, up to rounding
    # Anywhere: what is free lies before the box as often as behind it.
    assert (left - (200 - right)).mean() == pytest.approx(0, abs=1)
    assert (top - (100 - bottom)).mean() == pytest.approx(0, abs=0.5)


def test_the_largest_box_is_the_whole_image_and_the_smallest_a_pixel() -> None:
    assert boxes(50, (6, 9), smallest=1.0).tolist() == [[0, 0, 9, 6]] * 50
    left, top, right, bottom = boxes(5_000, (2, 2), smallest=1e-9).T
    assert set(zip(left.tolist(), top.tolist(), (right - left).tolist(), (bottom - top).tolist(), strict=True)) == {
        (0, 0, 2, 2),
        *((x, y, 1, 1) for x in (0, 1) for y in (0, 1)),
    }


def test_crops_are_cut_where_the_boxes_say() -> None:
    images = torch.rand(3, 2, 8, 12)
    found = crop_out(images, torch.tensor([[1, 2, 5, 5], [8, 5, 12, 8], [0, 0, 4, 3]]), (3, 4))
    expected = torch.stack([images[0, :, 2:5, 1:5], images[1, :, 5:8, 8:12], images[2, :, 0:3, 0:4]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_crops_shrink_to_the_means_of_their_pixels() -> None:
    images = torch.rand(1, 1, 12, 12)
    halved = crop_out(images, torch.tensor([[4, 0, 12, 8]]), (4, 4))
    torch.testing.assert_close(halved, F.avg_pool2d(images[:, :, 0:8, 4:12], 2), rtol=0, atol=1e-6)


def test_crops_grow_bilinearly() -> None:
    images = torch.rand(1, 3, 10, 10)
    found = crop_out(images, torch.tensor([[2, 3, 7, 8]]), (10, 10))
    expected = F.interpolate(images[:, :, 3:8, 2:7], (10, 10), mode="bilinear", align_corners=False)
    # Only inside: at its own border, a crop that grows sees half a pixel beyond.
    torch.testing.assert_close(found[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], rtol=0, atol=1e-6)


def test_first_the_best_crop_of_each_image_then_the_best_images() -> None:
    losses = torch.tensor([[3.0, 0.5, 2.0, 9.0], [1.0, 0.4, 2.0, 8.0], [2.0, 7.0, 4.0, 0.6]])
    images, crops = most_realistic(losses, 3)
    assert images.tolist() == [1, 3, 0]  # 0.4, 0.6, 1.0, and not the two crops of image 1
    assert crops.tolist() == [1, 2, 1]
    images, crops = most_realistic(torch.zeros(2, 3), 3)
    assert (images.tolist(), crops.tolist()) == ([0, 1, 2], [0, 0, 0])


def test_every_image_gets_tiles_of_every_quality() -> None:
    tiles = torch.arange(8.0)[:, None, None, None].expand(8, 3, 2, 5)
    found = stitch(tiles, 2)
    assert found.shape == (2, 3, 4, 10)
    for image, (first, second, third, fourth) in enumerate([(0, 2, 4, 6), (1, 3, 5, 7)]):
        assert found[image, 2, ::2, ::5].tolist() == [[first, second], [third, fourth]]
        assert found[image, :, :2, 5:].unique().tolist() == [second]
    assert torch.equal(stitch(tiles, 1), tiles)


class Brightness(nn.Module):
    """Finds images of class 1 the more realistic the brighter they are, and of class 0 the darker; trains nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        return torch.stack([-mean, mean], 1) + 0 * self.unused


def brightness(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Brightness()


def gradients(per_class: int = 6, size: int = 8) -> ImageDataset:
    """Images of two classes that grow brighter from left to right, each from a level of its own."""
    levels = torch.arange(2 * per_class)[:, None, None, None] * 8
    images = (levels + torch.arange(size) * 80 // size).expand(2 * per_class, 1, size, size).to(torch.uint8)
    return ImageDataset(images, torch.arange(2 * per_class) % 2, ("dark", "bright"), "0" * 64)


def made(source: ImageDataset, ipc: int, seed: int = 0, **changed: Any) -> DistilledSet:
    return RDED(**{"steps": 1, "model": {"name": f"{__name__}:brightness"}, **changed}).distill(source, ipc, seed)


def pixels(found: DistilledSet) -> np.ndarray:
    assert isinstance(found.preprocessing, Standardisation)
    return found.preprocessing.inverse(found.images).numpy()


def test_whole_images_are_ranked_by_the_teacher() -> None:
    # Nothing to choose but the image: the darkest of the dark (0, 2, 4 of 12), the brightest of the bright (11, 9, 7).
    source = gradients()
    found = made(source, 3, smallest_crop=1.0)
    expected = source.images[[0, 2, 4, 11, 9, 7]].float() / 255
    assert torch.equal(found.images, found.preprocess(expected))


def test_crops_are_ranked_by_the_teacher() -> None:
    # The more crops to choose among, the more extreme the best one. Image 0 has a mean of 35 levels, image 11 of 123.
    source = gradients()
    few, many = (pixels(made(source, 1, crops=crops)).mean((1, 2, 3)) for crops in (1, 100))
    assert many[0] < few[0]
    assert many[1] > few[1]
    assert many[0] < 25 / 255
    assert many[1] > 133 / 255


def test_four_crops_make_an_image_and_none_of_one_source_image_twice() -> None:
    source = gradients(per_class=8)
    found = made(source, 1, factor=2, smallest_crop=1.0)
    # Halved images: each tile has the columns' means 5, 25, 45, 65 above its level; the darkest are of levels 0, 16, …
    for image, levels in zip(pixels(found) * 255, ([0, 16, 32, 48], [120, 104, 88, 72]), strict=True):
        tiles = [image[0, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
        for tile, level in zip(tiles, levels, strict=True):
            np.testing.assert_allclose(tile, level + np.tile([5.0, 25.0, 45.0, 65.0], (4, 1)), atol=1e-3)


def test_labels_are_the_teachers_probabilities_for_what_is_shown() -> None:
    source = random_dataset()
    found = RDED(model=TINY, steps=5).distill(source, 2, 3)
    teacher = train_teacher(source, standardisation_of(source), TINY, 5, 3)
    with torch.no_grad():
        torch.testing.assert_close(
            found.labels, teacher(found.images.to(next(teacher.parameters()).device)).cpu().softmax(1)
        )
    assert found.labels.dtype == torch.float32
    assert found.provenance["cost"]["image_gradients"] == 5 * 24


def test_images_have_8_bits() -> None:
    levels = pixels(RDED(model=TINY, steps=1).distill(random_dataset(), 2, 0)) * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
    assert levels.min() > -0.5
    assert levels.max() < 255.5


def test_only_the_candidates_are_looked_at() -> None:
    # With 2 of 6 candidates the darkest image is missed for some seeds, with 6 for none.
    source = gradients()
    darkest = [
        {float(pixels(made(source, 1, seed, candidates=count, smallest_crop=1.0))[0].min()) for seed in range(8)}
        for count in (2, 6)
    ]
    assert len(darkest[0]) > 1
    assert len(darkest[1]) == 1


@pytest.mark.parametrize(("size", "tiles"), [(64, 2), (62, 1), (65, 1)])
def test_large_images_that_two_divides_are_stitched_by_default(size: int, tiles: int) -> None:
    found = made(gradients(per_class=4, size=size), 1, smallest_crop=1.0)
    row = pixels(found)[0, 0, 0]
    assert (np.diff(row) < -0.1).sum() == tiles - 1  # brightness starts over with every tile


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "RDED needs steps of at least 1, not 0"),
        ({"factor": 0}, "RDED needs factor of at least 1, not 0"),
        ({"candidates": 0}, "RDED needs candidates of at least 1, not 0"),
        ({"crops": 0}, "RDED needs crops of at least 1, not 0"),
        ({"smallest_crop": 0.0}, "RDED needs smallest_crop above 0 and at most 1, not 0.0"),
        ({"smallest_crop": float("nan")}, "RDED needs smallest_crop above 0 and at most 1, not nan"),
        ({"factor": 4}, "cannot stitch images of 6×6 from 4×4 crops"),
        ({"factor": 2, "candidates": 7}, "needs 8 candidates a class .* is 7 and"),
        ({"factor": 3}, "18 candidates a class for 2 images of 3×3 crops, .* has 8 images"),
        ({"model": {"name": "convnt"}}, r"no architecture 'convnt'\. Did you mean 'convnet'"),
    ],
)
def test_what_is_impossible_is_found_out_before_any_training(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RDED(**{"model": TINY, **changed}).check(random_dataset(), 2)
