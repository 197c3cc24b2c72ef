"""ConvNet, the network of the dataset-distillation literature (Gidaris & Komodakis 2018; Zhao et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.models.limits import require_known, require_whole

Norm = Literal["none", "batch", "layer", "instance", "group"]
Activation = Literal["sigmoid", "relu", "leaky_relu"]
Pooling = Literal["none", "max", "average"]

# The five norms of the 720-ConvNet space. "instance" is group norm with one channel a group, "group" has four groups,
# as in the code that the literature's figures come from.
_NORMS: Mapping[str, Callable[[int, int, int], nn.Module]] = {
    "none": lambda channels, height, width: nn.Identity(),
    "batch": lambda channels, height, width: nn.BatchNorm2d(channels),
    "layer": lambda channels, height, width: nn.LayerNorm([channels, height, width]),
    "instance": lambda channels, height, width: nn.GroupNorm(channels, channels),
    "group": lambda channels, height, width: nn.GroupNorm(4, channels),
}
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
}
_POOLINGS: Mapping[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "max": lambda: nn.MaxPool2d(2),
    "average": lambda: nn.AvgPool2d(2),
}


class ConvNet(nn.Module):
    """`depth` blocks of convolution 3×3, norm, activation and pooling, then one linear layer."""

    any_memory_format = True

    def __init__(self, blocks: nn.Sequential, features: int, classes: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.classifier = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        return self.classifier(self.blocks(images).flatten(1))  # type: ignore[no-any-return]


def convnet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    depth: int = 3,
    width: int = 128,
    norm: Norm = "instance",
    activation: Activation = "relu",
    pooling: Pooling = "average",
) -> nn.Module:
    """Build a ConvNet; depth 3, width 128, instance norm, ReLU and average pooling is the literature's ConvNet-3.

    Raises:
        UserError: an unknown choice, a depth or width below 1, a width that four groups do not divide, or more
            poolings than the image can be halved.
    """
    require_known("convnet", "norm", norm, tuple(_NORMS))
    require_known("convnet", "activation", activation, tuple(_ACTIVATIONS))
    require_known("convnet", "pooling", pooling, tuple(_POOLINGS))
    require_whole("convnet", depth=depth, width=width)
    if norm == "group" and width % 4:
        raise UserError(f"convnet with group norm has four groups, which do not divide width {width}.")

    channels, height, wide = input_shape
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(channels, width, kernel_size=3, padding=1),
            _NORMS[norm](width, height, wide),
            _ACTIVATIONS[activation](),
            _POOLINGS[pooling](),
        ]
        channels = width
        if pooling != "none":
            height, wide = height // 2, wide // 2
    if min(height, wide) < 1:
        raise UserError(
            f"convnet of depth {depth} with {pooling} pooling halves the image {depth} times, "
            f"which an image of {input_shape[1]}×{input_shape[2]} does not allow."
        )
    return ConvNet(nn.Sequential(*layers), channels * height * wide, classes)
