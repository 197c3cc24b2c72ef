from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dp_core.data.preprocessing import Standardisation
from dp_core.judging import gathers_statistics, reestimate_statistics
from dp_core.training import TrainingData
from dp_core.training.recipe import Mode
from tests.dp_core.small import CLASSES, copy_of, random_data, same, small_model


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
    reestimate_statistics(model, data, batch_size=batch_size)

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


class Again(nn.Module):
    """Has one norm in two places, as networks have that repeat a block."""

    def __init__(self, momentum: float | None) -> None:
        super().__init__()
        self.norm, self.convolution = nn.BatchNorm2d(1, momentum=momentum), nn.Conv2d(1, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.norm(images) * 3 + 10)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_of_a_norm_in_two_places_are_of_what_it_sees_in_both(momentum: float | None) -> None:
    model, data = Again(momentum), random_data(9)
    reestimate_statistics(model, data, batch_size=6)  # 5 and 4
    batches = (data.images[:5], data.images[5:])
    mean = (data.images.mean() + 10) / 2
    seen = torch.stack([(batch.var() + 9 * batch.numel() / (batch.numel() - 1)) / 2 for batch in batches])
    assert model.norm.running_mean is not None
    assert model.norm.running_var is not None
    assert model.norm.running_mean.item() == pytest.approx(mean.item(), rel=1e-5)
    assert model.norm.running_var.item() == pytest.approx(float((seen * torch.tensor([5, 4])).sum() / 9), rel=1e-4)
    assert model.norm.momentum == momentum


def test_a_rest_of_one_image_can_be_normalised() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, CLASSES))
    reestimate_statistics(model, random_data(9), batch_size=4)  # 4 + 4 + 1 would fail in the last
    assert torch.allclose(model.get_buffer("1.running_mean"), random_data(9).images.flatten(1).mean(0), atol=1e-6)


def test_a_network_without_running_statistics_is_not_run() -> None:
    model, passes = small_model("instance"), list[int]()
    model.register_forward_hook(lambda *_: passes.append(1))
    assert not gathers_statistics(model)
    reestimate_statistics(model, random_data(), batch_size=5)
    assert not passes


class Frozen(nn.Module):
    """Keeps the first of its two norms in evaluation mode, as who fine-tunes does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.BatchNorm2d(1), nn.BatchNorm2d(1), nn.Linear(36, CLASSES)

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.first.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.second(self.first(images)).flatten(1))
        return logits


def test_a_norm_that_is_frozen_in_training_keeps_its_statistics() -> None:
    model, data = Frozen().train(), random_data(12)
    with torch.no_grad():
        model.get_buffer("first.running_mean").fill_(0.5)
        model.get_buffer("first.running_var").fill_(4.0)
    reestimate_statistics(model, data)
    assert model.get_buffer("first.running_mean").item() == 0.5
    assert model.get_buffer("first.running_var").item() == 4.0
    seen = (data.images - 0.5) / 2
    assert model.get_buffer("second.running_mean").item() == pytest.approx(seen.mean().item(), abs=1e-5)
    assert [model.first.training, model.second.training] == [False, True]


def test_running_statistics_of_instance_norms_are_estimated_too() -> None:
    model, data = nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True), nn.Conv2d(1, 1, 1)), random_data(12)
    assert gathers_statistics(model)
    reestimate_statistics(model, data)
    assert model.get_buffer("0.running_mean").item() == pytest.approx(data.images.mean().item(), abs=1e-5)


@pytest.mark.parametrize("mode", ["eager", "fused", "compiled", "auto"])
def test_every_way_of_execution_finds_the_same_statistics_and_leaves_no_trace(mode: Mode) -> None:
    plain, other, data = small_model("batch").train(), small_model("batch").train(), random_data(20)
    layout = [parameter.stride() for parameter in other.parameters()]
    reestimate_statistics(plain, data, batch_size=10)
    reestimate_statistics(other, data, batch_size=10, mode=mode)
    statistics = {name: value for name, value in copy_of(other).items() if "running" in name}
    assert statistics
    for name, value in statistics.items():
        torch.testing.assert_close(value, copy_of(plain)[name], rtol=1e-4, atol=1e-5)
    weights = dict(small_model("batch").named_parameters())
    assert same(dict(other.named_parameters()), weights)
    assert [parameter.stride() for parameter in other.parameters()] == layout
    assert all(module.training for module in other.modules())
    assert {norm.momentum for norm in other.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}


class Norm(nn.BatchNorm2d):
    """A user's own, which does what torch's does."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    "norm", [Norm(4), Norm(4, momentum=None), nn.InstanceNorm2d(4, track_running_stats=True)], ids=str
)
def test_norms_outside_of_blocks_are_estimated_as_well_where_others_are_fused(norm: _NormBase) -> None:
    block = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    model, data, momentum = nn.Sequential(*block, norm), random_data(9), norm.momentum
    features = nn.Sequential(*copy.deepcopy(block)).train()(data.images)
    reestimate_statistics(model, data, mode="fused")
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == momentum
    assert norm.training
