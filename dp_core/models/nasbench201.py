"""The networks of NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326), each built from its architecture string."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

from torch import Tensor, nn

from dp_core.errors import UserError, nearest
from dp_core.models.limits import require_whole

# A residual block as a cell: two convolutions 3×3 one after the other, and the cell's input added to them.
RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"


class Zeroize(nn.Module):
    """The benchmark's `none`: zeros, through which what comes before still gets a gradient, of zeros."""

    any_memory_format = True

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] to zeros of this shape."""
        return images * 0


class Cell(nn.Module):
    """Four feature maps, the first one given and each other the sum of an operation on every one before it."""

    any_memory_format = True

    def __init__(self, operations: Sequence[Sequence[str]], width: int) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(nn.ModuleList(_OPERATIONS[name](width) for name in node) for node in operations)

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, width, H, W] to this shape."""
        features = [images]
        for node in self.nodes:
            assert isinstance(node, nn.ModuleList)
            edges = [operation(feature) for operation, feature in zip(node, features, strict=True)]
            features.append(reduce(operator.add, edges))
        return features[-1]


class Reduction(nn.Module):
    """The residual block between two stages, which halves the image (sides rounded up) and doubles the channels."""

    any_memory_format = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.residual = nn.Sequential(
            *_relu_convolution_norm(channels, wide, kernel_size=3, stride=2),
            *_relu_convolution_norm(wide, wide, kernel_size=3, stride=1),
        )
        # Rounded up as the strided convolution does; no matter for the even sides of the benchmark.
        halved = nn.AvgPool2d(2, ceil_mode=True)
        self.shortcut = nn.Sequential(halved, nn.Conv2d(channels, wide, kernel_size=1, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, 2·C, ⌈H / 2⌉, ⌈W / 2⌉]."""
        return self.residual(images) + self.shortcut(images)  # type: ignore[no-any-return]


def nasbench201(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    architecture: str = RESNET,
    width: int = 16,
    cells: int = 5,
) -> nn.Module:
    """Build a network: three stages of `cells` equal cells, of 16, 32 and 64 channels, with reductions between them.

    On CIFAR-10 it has the benchmark's parameters, and half of what `dp_core.analysis.CostModel` counts are its
    multiply-accumulates. Tables that give a cell of nothing but skip connections 7.943872 MFLOPs add to these one for
    each input of a ReLU, two for each of a batch norm and k² for each output of a k×k average pooling: on CIFAR-10
    430,080 for each convolution of the cell, 1,290,240 for each average pooling, and 160,832 for all that is not in
    cells. Initial weights are torch's.

    Args:
        input_shape: channels, height, width; images of any size.
        classes: number of logits.
        architecture: the operations on the edges into each of a cell's nodes 1, 2 and 3, such as
            `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|`, where the number is the
            node that an edge comes from. By default the cell is a residual block.
        width: channels of the first stage.
        cells: cells of a stage.

    Raises:
        UserError: an architecture that cannot be read, or a number that is not whole and at least 1.
    """
    require_whole("nasbench201", width=width, cells=cells)
    operations = _parsed(architecture)
    stem = nn.Sequential(nn.Conv2d(input_shape[0], width, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(width))
    stages: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    for stage in (1, 2, 3):
        if stage > 1:
            stages[f"reduction{stage - 1}"] = Reduction(width)
            width = 2 * width
        stages[f"stage{stage}"] = nn.Sequential(*(Cell(operations, width) for _ in range(cells)))
    stages["pooling"] = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    stages["classifier"] = nn.Linear(width, classes)
    return nn.Sequential(stages)


def _parsed(architecture: object) -> list[list[str]]:
    """Return the names of the operations into each node, in the order of the nodes they come from."""
    nodes = architecture.split("+") if isinstance(architecture, str) else []
    if len(nodes) != 3:
        raise UserError(
            f"nasbench201 cannot read the architecture {architecture!r}, which needs three nodes such as '{RESNET}'."
        )
    return [_operations_into(node, index, str(architecture)) for index, node in enumerate(nodes, start=1)]


def _operations_into(node: str, index: int, architecture: str) -> list[str]:
    text = node.strip()
    edges = [edge.rpartition("~") for edge in text[1:-1].split("|")]
    if f"{text[:1]}{text[-1:]}" != "||" or [source for _, _, source in edges] != [str(i) for i in range(index)]:
        wanted = "".join(f"|<operation>~{source}" for source in range(index))
        raise UserError(
            f"nasbench201 cannot read the architecture '{architecture}', whose node {index} is '{text}' "
            f"instead of the form '{wanted}|'."
        )
    for name, _, _ in edges:
        if name not in _OPERATIONS:
            raise UserError(
                f"nasbench201 has no operation '{name}', which the architecture '{architecture}' names."
                f"{nearest(name, _OPERATIONS)} Known: {', '.join(_OPERATIONS)}."
            )
    return [name for name, _, _ in edges]


def _relu_convolution_norm(channels: int, width: int, *, kernel_size: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, width, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return nn.ReLU(), convolution, nn.BatchNorm2d(width)


_OPERATIONS: Mapping[str, Callable[[int], nn.Module]] = {
    "none": lambda width: Zeroize(),
    "skip_connect": lambda width: nn.Identity(),
    "nor_conv_1x1": lambda width: nn.Sequential(*_relu_convolution_norm(width, width, kernel_size=1, stride=1)),
    "nor_conv_3x3": lambda width: nn.Sequential(*_relu_convolution_norm(width, width, kernel_size=3, stride=1)),
    "avg_pool_3x3": lambda width: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
}
