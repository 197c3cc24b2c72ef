from __future__ import annotations

import pytest
import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.pruning import prunable_parameters


def weights(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in prunable_parameters(model).values())


@pytest.mark.parametrize(
    ("hyperparameters", "shape", "classes", "expected"),
    [
        # ConvNet-3 of width 128 at 100 classes: the paper's count (arXiv 2307.03364).
        ({}, (3, 32, 32), 100, 503_168),
        # By hand: 3·3²·128 + 2·128·3²·128 in convolutions and 4·4·128·10 in the linear layer.
        ({}, (3, 32, 32), 10, 3_456 + 2 * 147_456 + 20_480),
        # One block without pooling on 1×5×7: 1·3²·8 + 8·5·7·4.
        ({"depth": 1, "width": 8, "pooling": "none"}, (1, 5, 7), 4, 72 + 1_120),
        # Odd sides are halved downwards, 5×7 → 2×3: 1·3²·8 + 8·2·3·4.
        ({"depth": 1, "width": 8}, (1, 5, 7), 4, 72 + 192),
    ],
)
def test_prunable_weights(
    hyperparameters: dict[str, object], shape: tuple[int, int, int], classes: int, expected: int
) -> None:
    assert weights(build(ModelSpec("convnet", hyperparameters), shape, classes)) == expected


@pytest.mark.parametrize("pooling", ["none", "max", "average"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "leaky_relu"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
def test_every_combination_is_the_network_written_by_hand(norm: str, activation: str, pooling: str) -> None:
    spec = ModelSpec("convnet", {"depth": 2, "width": 8, "norm": norm, "activation": activation, "pooling": pooling})
    model = build(spec, (2, 8, 12), 5, seed=1).train()
    *convolutions, (linear, last_bias) = [
        (weight, model.get_parameter(name.replace("weight", "bias")))
        for name, weight in prunable_parameters(model).items()
    ]
    images = torch.randn(3, 2, 8, 12, generator=torch.Generator().manual_seed(0))
    x = images
    for weight, bias in convolutions:
        x = nn.functional.conv2d(x, weight, bias, padding=1)
        x = _pooled(_activated(_normalised(x, norm), activation), pooling)
    expected = x.flatten(1) @ linear.T + last_bias
    assert expected.shape == (3, 5)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


def _normalised(x: torch.Tensor, norm: str) -> torch.Tensor:
    """Subtract the mean and divide by the deviation over the axes that each norm is defined by."""
    if norm == "none":
        return x
    shape = x.shape
    if norm == "group":  # four groups
        x = x.view(shape[0], 4, shape[1] // 4, *shape[2:])
    axes = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3), "group": (2, 3, 4)}[norm]
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    return ((x - mean) / (variance + 1e-5).sqrt()).view(shape)


def _activated(x: torch.Tensor, activation: str) -> torch.Tensor:
    if activation == "sigmoid":
        return 1 / (1 + torch.exp(-x))
    return torch.where(x > 0, x, x * (0.01 if activation == "leaky_relu" else 0.0))


def _pooled(x: torch.Tensor, pooling: str) -> torch.Tensor:
    corners = torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]) if pooling != "none" else x[None]
    return corners.mean(0) if pooling == "average" else corners.amax(0)


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"norm": "bacth"}, r"no norm 'bacth'\. Did you mean 'batch'\? Known: none, batch, layer, instance, group"),
        ({"activation": "rleu"}, r"no activation 'rleu'\. Did you mean 'relu'\?"),
        ({"pooling": "avrage"}, r"no pooling 'avrage'\. Did you mean 'average'\?"),
        ({"norm": "group", "width": 6}, r"group norm has four groups, which do not divide width 6"),
        ({"depth": 0}, r"whole depth of at least 1, not 0"),
        ({"width": 8.0}, r"whole width of at least 1, not 8\.0"),
        ({"width": "64"}, r"whole width of at least 1, not '64'"),
        ({"depth": True}, r"whole depth of at least 1, not True"),
        ({"depth": 4}, r"depth 4 with average pooling halves the image 4 times, .* 8×9 does not allow"),
    ],
)
def test_what_cannot_be_built_is_said(hyperparameters: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(ModelSpec("convnet", {"width": 4, **hyperparameters}), (3, 8, 9), 10)


def test_an_image_may_be_pooled_down_to_one_pixel_and_without_pooling_depth_is_free() -> None:
    assert weights(build(ModelSpec("convnet", {"depth": 3, "width": 4}), (1, 8, 9), 2)) == 36 + 2 * 144 + 8
    deep = ModelSpec("convnet", {"depth": 6, "width": 4, "pooling": "none"})
    assert weights(build(deep, (1, 8, 9), 2)) == 36 + 5 * 144 + 4 * 72 * 2
