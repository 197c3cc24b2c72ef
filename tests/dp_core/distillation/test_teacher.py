from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dp_core.distillation.base import standardisation_of
from dp_core.distillation.teacher import teacher_gradients, train_teacher
from dp_core.errors import UserError
from dp_core.training import TrainingData, evaluate
from tests.dp_core.small import copy_of, random_dataset, same, small_spec

SMALL = small_spec().to_dict()


def trained(steps: int, seed: int = 0, model: dict[str, Any] = SMALL, **more: Any) -> nn.Module:
    source = random_dataset()
    return train_teacher(source, standardisation_of(source), model, steps, seed, **more)


def test_it_learns_its_training_images() -> None:
    source = random_dataset()
    data = TrainingData(source.images, source.labels, standardisation_of(source))
    model = {"name": "convnet", "depth": 1, "width": 16}
    before, after = (evaluate(trained(steps, model=model), data) for steps in (0, 200))
    assert before.accuracy < 0.7
    assert after.accuracy == 1.0
    assert after.loss < 0.5 * before.loss


def test_the_seed_and_nothing_else_decides() -> None:
    torch.rand(1)  # move the global generator on
    before = torch.get_rng_state()
    first, again, other = (copy_of(trained(5, seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, again)
    assert not same(first, other)


def test_without_steps_it_is_the_network_that_training_starts_from() -> None:
    start = copy_of(trained(0, 7))
    assert same(start, copy_of(trained(0, 7)))
    one_step = copy_of(trained(1, 7))
    # AdamW's first step moves every weight with a gradient by the rate, here a half of 3e-3 (warm-up), and decays it.
    expected = start["classifier.weight"] * (1 - 1.5e-3 * 1e-2)
    moved = (one_step["classifier.weight"] - expected).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 1.5e-3), rtol=1e-2, atol=0)


def test_it_is_ready_to_be_asked() -> None:
    network = trained(3)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


class Recording(nn.Module):
    """A linear network that keeps the images of its training."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(36, 3)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen.append(images.detach().float().clone())
        return self.linear(images.flatten(1))


def recording(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Recording()


def test_it_sees_all_images_in_the_given_space_flipped_or_not() -> None:
    # An eighth of 6 pixels is none: nothing is shifted.
    network = trained(2, model={"name": f"{__name__}:recording"})
    source = random_dataset()
    pixels = source.images.numpy() / 255
    real = (pixels - pixels.mean()) / pixels.std()
    assert isinstance(network, Recording)
    assert [len(images) for images in network.seen] == [24, 24]
    flips = []
    for image in np.concatenate([images.numpy() for images in network.seen]):
        straight, flipped = (
            np.abs(real - candidate).max((1, 2, 3)).min() < 1e-5 for candidate in (image, image[..., ::-1])
        )
        assert straight != flipped
        flips.append(flipped)
    assert 8 < sum(flips) < 40  # of 48, half


def test_image_gradients_are_steps_times_batch() -> None:
    small, large = random_dataset(), random_dataset(per_class=100)
    assert teacher_gradients(small, 10) == 10 * 24
    assert teacher_gradients(large, 10) == 10 * 128
    assert teacher_gradients(large, 0) == 0


def test_progress_reaches_its_end() -> None:
    told: list[tuple[int, int, float]] = []
    trained(120, progress=lambda done, total, loss: told.append((done, total, loss)))
    assert [done for done, _, _ in told] == [50, 100, 120]
    assert {total for _, total, _ in told} == {120}
    assert told[-1][2] < told[0][2]


class Explosive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(36, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1)) * (float("nan") if self.training else 1.0)


def explosive(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Explosive()


def test_divergence_and_networks_that_do_not_fit_are_told() -> None:
    with pytest.raises(UserError, match=r"The teacher '.*:explosive' diverged: the loss became nan by step 2 of 2\.$"):
        trained(2, model={"name": f"{__name__}:explosive"})
    with pytest.raises(UserError, match="halves the image 3 times"):
        trained(0, model={"name": "convnet", "depth": 3})
