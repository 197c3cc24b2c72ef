from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torchvision.models import vgg11_bn, vgg16_bn

from dp_core.models import ModelSpec, build
from dp_core.pruning import prunable_parameters

# The paper's configurations A and D: channels of the convolutions, M where they are max-pooled.
LAYERS = {
    "vgg11": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg16": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
}


@pytest.mark.parametrize(("name", "parameters"), [("vgg11", 9_231_114), ("vgg16", 14_728_266)])
def test_it_has_the_papers_convolutions_and_one_linear_layer(name: str, parameters: int) -> None:
    model = build(ModelSpec(name), (3, 32, 32), 10)
    counted = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.MaxPool2d)]
    found = [module.out_channels if isinstance(module, nn.Conv2d) else "M" for module in counted]
    assert found == LAYERS[name]
    widths = [3, *(width for width in LAYERS[name] if isinstance(width, int))]
    # A convolution has 9 weights for each pair of channels and a bias, its norm two numbers more for each channel.
    features = sum(9 * one * other + 3 * other for one, other in pairwise(widths))
    assert sum(p.numel() for p in model.parameters()) == features + 512 * 10 + 10 == parameters


@pytest.mark.parametrize(("name", "reference"), [("vgg11", vgg11_bn), ("vgg16", vgg16_bn)])
def test_logits_are_those_of_torchvisions_features_with_the_same_weights(name: str, reference: type) -> None:
    model = build(ModelSpec(name), (3, 32, 32), 10, seed=0).eval()
    with torch.device("meta"):  # the linear layers, for ImageNet, have a hundred million weights
        features = reference().features
    features = features.to_empty(device="cpu").eval()
    ours = list(model.state_dict().values())
    features.load_state_dict(dict(zip(features.state_dict(), ours[:-2], strict=True)))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = features(images).flatten(1) @ ours[-2].T + ours[-1]
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "poolings"),
    [((3, 32, 32), 5), ((3, 63, 40), 5), ((1, 28, 28), 4), ((3, 64, 16), 4), ((3, 8, 9), 3), ((5, 1, 1), 0)],
)
def test_an_image_is_pooled_until_one_side_is_a_pixel(shape: tuple[int, int, int], poolings: int) -> None:
    model = build(ModelSpec("vgg11", {"width": 2}), shape, 3).eval()
    assert sum(isinstance(module, nn.MaxPool2d) for module in model.modules()) == poolings
    assert model(torch.randn(2, *shape)).shape == (2, 3)


def test_the_width_is_that_of_the_first_convolution() -> None:
    shapes = [
        tuple(p.shape) for p in prunable_parameters(build(ModelSpec("vgg11", {"width": 3}), (1, 32, 32), 4)).values()
    ]
    assert [shape[0] for shape in shapes] == [3, 6, 12, 12, 24, 24, 24, 24, 4]
