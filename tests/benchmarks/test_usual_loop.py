"""The loop that the engine is compared with: every image has parameters of its own, in the published ranges."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks import usual_loop

COUNT, SIDE = 200, 32
Operation = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("operation", [each for group in usual_loop.OPERATIONS.values() for each in group])
def test_an_operation_treats_equal_images_differently_and_keeps_their_shape(operation: Operation) -> None:
    image = torch.randn(1, 3, SIDE, SIDE)
    found = operation(image.expand(COUNT, -1, -1, -1))
    assert found.shape == (COUNT, 3, SIDE, SIDE)
    assert found.dtype == torch.float32
    different = len({tuple(each.flatten()[::97].tolist()) for each in found})
    assert different == 2 if operation is usual_loop.flip else different > 20


def spans(values: Tensor, low: float, high: float) -> bool:
    """Return whether all values are inside and the outer tenths of the range are reached."""
    tenth = (high - low) / 10
    return low - 1e-5 <= float(values.min()) < low + tenth and high - tenth < float(values.max()) <= high + 1e-5


def test_colours_have_the_published_strengths() -> None:
    # Channels 1, 0 and -1: grey is 0, so that an image is multiplied by its own factor.
    pattern = torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(COUNT, 3, 4, 4)
    assert spans(usual_loop.brightness(torch.zeros(COUNT, 3, 4, 4))[:, 0, 0, 0], -0.5, 0.5)
    assert spans(usual_loop.saturation(pattern)[:, 0, 0, 0], 0, 2)
    assert spans(usual_loop.contrast(pattern)[:, 0, 0, 0], 0.5, 1.5)


def test_a_crop_shifts_by_up_to_an_eighth_each_way() -> None:
    dot = torch.zeros(COUNT, 1, SIDE, SIDE)
    dot[:, :, 16, 16] = 1
    places = usual_loop.crop(dot).nonzero()[:, 2:]
    assert len(places) == COUNT  # none left the image
    for direction in places.T:
        assert set(direction.tolist()) == set(range(12, 21))


def test_a_crop_lets_zeros_in() -> None:
    kept = usual_loop.crop(torch.ones(COUNT, 1, SIDE, SIDE)).sum(dim=(1, 2, 3))
    assert float(kept.min()) == 28 * 28
    assert float(kept.max()) == SIDE * SIDE


def test_a_hole_has_half_the_sides_or_what_of_it_is_in_the_image() -> None:
    images = usual_loop.cutout(torch.ones(COUNT, 2, SIDE, SIDE))
    assert torch.equal(images[:, 0], images[:, 1])
    holes = images[:, 0] == 0
    heights, widths = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(holes.sum(dim=(1, 2)), heights * widths)  # rectangles
    for sides in (heights, widths):
        assert int(sides.min()) in range(8, 10)
        assert int(sides.max()) == 16


def test_half_of_the_images_are_flipped() -> None:
    ramp = torch.arange(4.0).expand(2000, 1, 1, 4)
    found = usual_loop.flip(ramp)
    flipped = found[:, 0, 0, 0] == 3
    assert torch.equal(found[flipped], ramp.flip(3)[flipped])
    assert torch.equal(found[~flipped], ramp[~flipped])
    assert 900 < int(flipped.sum()) < 1100


def test_images_are_scaled_in_each_direction_and_turned_within_the_published_ranges() -> None:
    scaling = usual_loop.scaling_matrices(COUNT)
    assert scaling.shape == (COUNT, 2, 3)
    assert spans(scaling[:, 0, 0], 1 / 1.2, 1.2)
    assert spans(scaling[:, 1, 1], 1 / 1.2, 1.2)
    assert not torch.equal(scaling[:, 0, 0], scaling[:, 1, 1])
    assert scaling[:, [0, 0, 1, 1], [1, 2, 0, 2]].abs().sum() == 0
    turning = usual_loop.rotation_matrices(COUNT)
    assert spans(torch.atan2(turning[:, 1, 0], turning[:, 0, 0]) * 180 / math.pi, -15, 15)
    square = turning[:, :, :2] @ turning[:, :, :2].mT
    torch.testing.assert_close(square, torch.eye(2).expand(COUNT, 2, 2))


def test_all_six_operations_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def noting(name: str) -> tuple[Operation]:
        def operation(images: Tensor) -> Tensor:
            drawn.append(name)
            return images

        return (operation,)

    monkeypatch.setattr(usual_loop, "OPERATIONS", {name: noting(name) for name in usual_loop.OPERATIONS})
    for _ in range(600):
        usual_loop.augment(torch.zeros(1, 3, 4, 4))
    assert all(60 < drawn.count(name) < 140 for name in usual_loop.OPERATIONS)
    assert len(usual_loop.OPERATIONS) == 6


def test_the_loop_learns_and_tells_loss_and_accuracy() -> None:
    labels = torch.arange(60) % 2
    images = torch.zeros(60, 3, 8, 8)
    images[labels == 0, :, ::2] = 1.0  # stripes, lying or standing, which every operation leaves what they are
    images[labels == 1, :, :, ::2] = 1.0
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 2))
    history = usual_loop.train(model, images, labels, epochs=60, learning_rate=0.01, batch_size=60)
    assert len(history) == 60
    assert sum(loss for loss, _ in history[-10:]) < 5
    assert sum(accuracy for _, accuracy in history[-10:]) > 8


def test_the_rate_falls_to_a_tenth_after_half_of_the_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: rates.append(self.param_groups[0]["lr"]))
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    usual_loop.train(model, torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]), epochs=6, learning_rate=1.0, batch_size=2)
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1])
