from __future__ import annotations

import pytest
import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.pruning import prunable_parameters


def test_it_has_the_papers_layers_and_prunable_weights_on_cifar10() -> None:
    model = build(ModelSpec("alexnet"), (3, 32, 32), 10)
    sizes = [parameter.numel() for parameter in prunable_parameters(model).values()]
    assert sum(sizes) == 1_871_232  # the paper's count (arXiv 2307.03364)
    # in·kernel²·out of each convolution, and 3072·10
    assert sizes == [3 * 25 * 128, 128 * 25 * 192, 192 * 9 * 256, 256 * 9 * 192, 192 * 9 * 192, 30_720]


def test_it_pools_after_the_first_second_and_last_convolution_without_norm_or_dropout() -> None:
    model = build(ModelSpec("alexnet"), (3, 32, 32), 10)
    kinds = [type(m).__name__ for m in model.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.Linear)]
    assert kinds == ["Conv2d", "MaxPool2d", "Conv2d", "MaxPool2d", "Conv2d", "Conv2d", "Conv2d", "MaxPool2d", "Linear"]
    expected = (nn.Sequential, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear)
    assert all(isinstance(module, expected) for module in model.modules())


def test_other_image_sizes_and_class_counts_change_the_linear_layer_alone() -> None:
    model = build(ModelSpec("alexnet"), (1, 17, 8), 4)
    assert list(prunable_parameters(model).values())[-1].shape == (4, 192 * 2 * 1)
    assert model(torch.zeros(1, 1, 17, 8)).shape == (1, 4)


def test_an_image_that_cannot_be_halved_three_times_is_refused() -> None:
    with pytest.raises(UserError, match="halves the image three times, which an image of 32×7 does not allow"):
        build(ModelSpec("alexnet"), (3, 32, 7), 10)


def test_the_width_changes_all_layers_in_proportion() -> None:
    sizes = [
        p.numel() for p in prunable_parameters(build(ModelSpec("alexnet", {"width": 6}), (3, 32, 32), 10)).values()
    ]
    # 6, 9, 12, 9, 9 channels, as 128, 192, 256, 192, 192
    assert sizes == [3 * 25 * 6, 6 * 25 * 9, 9 * 9 * 12, 12 * 9 * 9, 9 * 9 * 9, 9 * 16 * 10]


@pytest.mark.parametrize(("width", "message"), [(7, "must be even, not 7"), (0, "at least 1, not 0"), (8.0, "not 8.0")])
def test_a_width_without_whole_proportions_is_refused(width: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(ModelSpec("alexnet", {"width": width}), (3, 32, 32), 10)
