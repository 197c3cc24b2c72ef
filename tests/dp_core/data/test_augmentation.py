from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dp_core.data.augmentation import flip_crop
from dp_core.data.registry import AUGMENTATIONS
from tests.dp_core.small import same

SIDE, REACH = 16, 2  # an eighth of the side
SEEDS = range(150)
EVERY = pytest.mark.parametrize("name", AUGMENTATIONS)


def augmented(name: str, images: Tensor, seed: int) -> Tensor:
    return AUGMENTATIONS[name](images, torch.Generator().manual_seed(seed))


def random_images(n: int = 4, channels: int = 3, side: int = SIDE, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(0), dtype=dtype)


@EVERY
@given(st.integers(0, 999), st.integers(1, 3), st.integers(8, 20), st.integers(8, 20))
def test_shape_type_and_images_given_are_kept(name: str, seed: int, channels: int, height: int, width: int) -> None:
    for dtype in (torch.float32, torch.float64):
        images = torch.rand(3, channels, height, width, dtype=dtype)
        before = images.clone()
        found = augmented(name, images, seed)
        assert found.shape == images.shape
        assert found.dtype == dtype
        assert found.isfinite().all()
        assert torch.equal(images, before)


@EVERY
def test_the_seed_decides(name: str) -> None:
    images = random_images()
    torch.rand(1)  # move the global generator on
    before = torch.get_rng_state()
    found = [augmented(name, images, seed) for seed in (0, 0, *range(1, 10))]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1])
    assert name == "none" or any(not torch.equal(found[0], other) for other in found[2:])


def test_none_changes_nothing() -> None:
    images = random_images()
    assert torch.equal(augmented("none", images, 0), images)


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Move images by whole pixels, zeros coming in."""
    height, width = images.shape[2:]
    canvas = images.new_zeros(*images.shape[:2], height + 2 * REACH, width + 2 * REACH)
    canvas[:, :, REACH + down : REACH + down + height, REACH + right : REACH + right + width] = images
    return canvas[:, :, REACH : REACH + height, REACH : REACH + width]


SHIFTS = list(itertools.product(range(-REACH, REACH + 1), repeat=2))


def test_flip_crop_flips_and_shifts_every_image_on_its_own() -> None:
    images = random_images(200, channels=1)
    found = augmented("flip_crop", images, 0)
    candidates = {
        (flip, shift): shifted(images.flip(3) if flip else images, *shift) for flip in (False, True) for shift in SHIFTS
    }
    drawn = []
    for i in range(len(images)):
        matches = [key for key, candidate in candidates.items() if torch.equal(candidate[i], found[i])]
        assert len(matches) == 1
        drawn += matches
    # 200 draws: 100 ± 7 flips, 8 ± 2.8 of each of the 25 shifts.
    assert 70 < sum(flip for flip, _ in drawn) < 130
    assert {shift for _, shift in drawn} == set(SHIFTS)


def test_flip_crop_of_small_images_only_flips() -> None:
    images = random_images(20, side=6)  # an eighth of six pixels is none
    found = augmented("flip_crop", images, 1)
    flips = [torch.equal(found[i], images[i].flip(2)) for i in range(20)]
    assert 2 < sum(flips) < 18
    assert all(flip or torch.equal(found[i], images[i]) for i, flip in enumerate(flips))


@given(st.integers(0, 999), st.integers(1, 3))
def test_siamese_augments_another_batch_alike(seed: int, count: int) -> None:
    images = random_images()
    together = augmented("siamese", images, seed)
    torch.testing.assert_close(augmented("siamese", images[-count:], seed), together[-count:], rtol=1e-5, atol=1e-6)
    reordered = augmented("siamese", images.flip(0), seed)
    torch.testing.assert_close(reordered.flip(0), together, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 999), st.sampled_from(["siamese", "flip_crop", "none"]))
def test_gradients_are_those_of_finite_differences(seed: int, name: str) -> None:
    images = random_images(2, side=8, dtype=torch.float64)
    direction = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((augmented(name, leaf, seed) * weights).sum(), leaf)
    # All operations are affine in the images, so a difference of any size is exact.
    difference = ((augmented(name, images + direction, seed) - augmented(name, images, seed)) * weights).sum()
    assert gradient.isfinite().all()
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-9, abs=1e-9)
    assert gradient.abs().max() > 0


def coordinates() -> Tensor:
    """Images [2, 3, H, W]: the first holds its own pixels' x and y in [-1, 1] and noise, the second noise."""
    line = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    images = random_images(2, dtype=torch.float64)
    images[0, 0], images[0, 1] = line.expand(SIDE, SIDE), line[:, None].expand(SIDE, SIDE)
    return images


def is_flip(before: Tensor, after: Tensor) -> bool:
    return torch.equal(after, before) or torch.equal(after, before.flip(3))


def is_crop(before: Tensor, after: Tensor) -> bool:
    return any(torch.equal(after, shifted(before, *shift)) for shift in SHIFTS)


def is_cutout(before: Tensor, after: Tensor) -> bool:
    """One hole for all images, a rectangle of at most half a side each way, and at least a quarter of it inside."""
    hole = (after == 0).all(dim=(0, 1))
    rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
    if not len(rows) or not torch.equal(torch.where(hole, 0.0, before), after):
        return False
    solid = int(hole.sum()) == len(rows) * len(columns)
    contiguous = all(int(axis[-1] - axis[0]) + 1 == len(axis) for axis in (rows, columns))
    return solid and contiguous and all(SIDE // 4 <= len(axis) <= SIDE // 2 for axis in (rows, columns))


def is_colour(before: Tensor, after: Tensor) -> bool:
    """Contrast · (saturation · (x - grey) + grey) for x brightened, about the image's mean: the same three everywhere.

    Solve for the coefficients of x, of grey (the mean over channels) and of 1, image by image, then for the factors.
    """
    factors = []
    for x, y in zip(before.numpy(), after.numpy(), strict=True):
        grey = np.broadcast_to(x.mean(0), x.shape)
        terms = np.stack([x.ravel(), grey.ravel(), np.ones(x.size)], axis=1)
        (of_x, of_grey, constant), *_ = np.linalg.lstsq(terms, y.ravel(), rcond=None)
        if np.abs(terms @ [of_x, of_grey, constant] - y.ravel()).max() > 1e-9:
            return False
        contrast = of_x + of_grey
        factors.append([contrast, of_x / contrast, constant - x.mean() * (1 - contrast)])
    (contrast, saturation, brightness), *others = factors
    in_range = 0.5 <= contrast <= 1.5 and 0 <= saturation <= 2 and -0.5 <= brightness <= 0.5
    return in_range and all(np.allclose(other, factors[0]) for other in others)


def jacobian(before: Tensor, after: Tensor) -> npt.NDArray[np.float64]:
    """Where the middle pixels were taken from, per step: d(x, y taken) / d(x, y)."""
    middle = slice(SIDE // 2 - 2, SIDE // 2 + 2)
    step = 2 / (SIDE - 1)
    x, y = after[0, 0, middle, middle].numpy(), after[0, 1, middle, middle].numpy()
    return np.array([[np.diff(v, axis=axis).mean() / step for axis in (1, 0)] for v in (x, y)])


def sampled(before: Tensor, matrix: npt.NDArray[np.float64]) -> Tensor:
    theta = torch.tensor([[*row, 0.0] for row in matrix.tolist()], dtype=before.dtype).expand(len(before), 2, 3)
    return F.grid_sample(before, F.affine_grid(theta, list(before.shape), align_corners=True), align_corners=True)


def is_scale(before: Tensor, after: Tensor) -> bool:
    found = jacobian(before, after)
    in_range = all(1 / 1.2 <= factor <= 1.2 for factor in np.diag(found))
    return in_range and np.allclose(found, np.diag(np.diag(found))) and torch.allclose(sampled(before, found), after)


def is_rotation(before: Tensor, after: Tensor) -> bool:
    found = jacobian(before, after)
    orthonormal = np.allclose(found @ found.T, np.eye(2)) and np.isclose(np.linalg.det(found), 1)
    in_range = abs(np.degrees(np.arcsin(found[1, 0]))) <= 15
    return bool(orthonormal and in_range and torch.allclose(sampled(before, found), after))


OPERATIONS: dict[str, Callable[[Tensor, Tensor], bool]] = {
    "flip": is_flip,
    "crop": is_crop,
    "cutout": is_cutout,
    "colour": is_colour,
    "scale": is_scale,
    "rotation": is_rotation,
}


def test_every_siamese_draw_is_one_of_the_six_operations_at_the_authors_strengths() -> None:
    before = coordinates()
    drawn = []
    for seed in SEEDS:
        after = augmented("siamese", before, seed)
        drawn.append(next((name for name, holds in OPERATIONS.items() if holds(before, after)), f"? at {seed}"))
    # 150 draws of six: 25 ± 4.6 of each.
    assert set(drawn) == set(OPERATIONS)
    assert all(8 < drawn.count(name) < 44 for name in OPERATIONS)
    flipped = [not torch.equal(augmented("siamese", before, seed), before) for seed in SEEDS if drawn[seed] == "flip"]
    assert 0 < sum(flipped) < len(flipped)


def test_draws_of_one_operation_differ() -> None:
    images = coordinates()
    different = {augmented("siamese", images, seed).numpy().tobytes() for seed in SEEDS}
    assert len(different) > 100  # flips and crops repeat
    assert not same(augmented("siamese", images, 0), augmented("siamese", images, 1))


def test_flip_crop_shifts_each_axis_by_an_eighth_of_its_own_side() -> None:
    image = torch.zeros(1, 1, 64, 16)
    image[0, 0, 32, 8] = 1.0
    rows, columns = set(), set()
    for seed in range(300):
        spot = flip_crop(image, torch.Generator().manual_seed(seed))[0, 0].nonzero()[0].tolist()
        rows.add(spot[0])
        columns.add(spot[1])
    assert rows == set(range(24, 41)), "8 of 64 rows up or down"
    assert columns == set(range(5, 11)), "2 of 16 columns from column 8, or from 7 where it was flipped"
