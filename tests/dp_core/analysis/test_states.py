from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dp_core.analysis.states import loss_surface, reestimate_statistics
from dp_core.data.preprocessing import Standardisation
from dp_core.errors import UserError
from dp_core.training import TrainingData
from tests.dp_core.small import CLASSES, SHAPE, copy_of, random_data, same, small_model


class Fragile(nn.Module):
    """Fails at its third forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = small_model("batch")
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        if self.passes == 3:
            raise RuntimeError("third")
        return self.inside(images)


@pytest.mark.parametrize(("images", "batch_size", "sizes"), [(12, 12, [12]), (12, 4, [4, 4, 4]), (13, 6, [5, 4, 4])])
def test_statistics_are_those_that_numpy_finds_in_the_batches(images: int, batch_size: int, sizes: list[int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (images, 2, 3, 3), dtype=np.uint8)
    space = Standardisation((0.4, 0.5), (0.2, 0.3))
    data = TrainingData(torch.from_numpy(pixels), torch.zeros(images, dtype=torch.int64), space)
    first, second = nn.BatchNorm2d(2), nn.BatchNorm2d(2, momentum=0.3)
    model = nn.Sequential(first, nn.Dropout(), second, nn.Conv2d(2, 1, 3))
    with torch.no_grad():
        model.get_buffer("0.running_mean").fill_(torch.nan)  # what was there before must not matter
        first.weight.copy_(torch.tensor([2.0, 3.0]))
    reestimate_statistics(model, data, batch_size)

    x = (pixels / 255 - np.array([0.4, 0.5])[:, None, None]) / np.array([0.2, 0.3])[:, None, None]
    batches = np.split(x, np.cumsum(sizes)[:-1])
    variances = np.array([b.var((0, 2, 3), ddof=1) for b in batches])
    np.testing.assert_allclose(model.get_buffer("0.running_mean"), x.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(
        model.get_buffer("0.running_var"), np.average(variances, axis=0, weights=sizes), rtol=1e-5
    )
    # The second norm sees what the first made of each batch: mean 0 and, up to eps, biased variance 2² and 3².
    seen = np.array([np.array([4.0, 9.0]) * size * 9 / (size * 9 - 1) for size in sizes])
    np.testing.assert_allclose(model.get_buffer("2.running_mean"), 0, atol=1e-5)
    np.testing.assert_allclose(model.get_buffer("2.running_var"), np.average(seen, axis=0, weights=sizes), rtol=1e-4)
    assert [first.momentum, second.momentum] == [0.1, 0.3]
    assert all(module.training for module in model.modules())


def test_a_rest_of_one_image_can_be_normalised() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, CLASSES))
    reestimate_statistics(model, random_data(9), batch_size=4)  # 4 + 4 + 1 would fail in the last
    assert torch.allclose(model.get_buffer("1.running_mean"), random_data(9).images.flatten(1).mean(0), atol=1e-6)


def test_a_network_without_running_statistics_is_not_run() -> None:
    model = Fragile()
    model.inside = small_model("instance")
    reestimate_statistics(model, random_data(), batch_size=5)
    assert model.passes == 0


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails_in", ["statistics", "evaluation"])
def test_everything_is_put_back_even_after_an_exception(training: bool, fails_in: str) -> None:
    model, data = Fragile().train(training), random_data(20)
    parameters = [(p, p.stride()) for p in model.parameters()]
    before, norm = copy_of(model), model.get_submodule("inside.blocks.1")
    batch_size = 5 if fails_in == "statistics" else 10
    surface = loss_surface(model, data, statistics=data, batch_size=batch_size, precision="float32")
    with pytest.raises(RuntimeError, match="third"), surface as at:
        at({name: torch.ones_like(value) for name, value in before.items()})
    assert same(copy_of(model), before)
    assert all(module.training is training for module in model.modules())
    assert norm.momentum == 0.1
    assert [(p, p.stride()) for p in model.parameters()] == parameters
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_mistakes_are_told() -> None:
    soft = TrainingData(torch.zeros(4, *SHAPE), torch.full((4, CLASSES), 1 / CLASSES))
    for data, batch_size, text in ((soft, 5, "soft labels"), (random_data(), 0, "at least 1 image")):
        surface = loss_surface(small_model(), data, statistics=None, batch_size=batch_size, precision="float32")
        with pytest.raises(UserError, match=text), surface:
            pass
