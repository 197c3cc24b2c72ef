from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from dp_core.kernels import fused, has_skipping, without_skipping
from dp_core.kernels.pointwise import skips_pixels
from dp_core.models import ModelSpec, build
from dp_core.training.network import Network

_DEBUGGING = "libc_malloc_debug.so.0"


def strided(channels: int = 4, stride: int | tuple[int, int] = 2, padding: int = 0, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, 6, 1, stride=stride, padding=padding, groups=groups)


@pytest.mark.parametrize(
    ("convolution", "expected"),
    [
        (strided(), True),
        (strided(1, (1, 3)), True),
        (strided(32, groups=2), False),
        (strided(6, groups=2), True),
        (nn.Conv2d(4, 6, 1, stride=2, padding="valid"), True),
        (strided(16), False),
        (strided(stride=1), False),
        (strided(padding=1), False),
        (nn.Conv2d(4, 6, 2, stride=2), False),
        (nn.ConvTranspose2d(4, 6, 1, stride=2), False),
        (nn.Linear(4, 6), False),
    ],
)
def test_narrow_convolutions_of_one_pixel_with_a_stride_are_found(convolution: nn.Module, expected: bool) -> None:
    assert skips_pixels(convolution) is expected
    assert has_skipping(nn.Sequential(nn.ReLU(), convolution)) is expected


def results(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the output, and the gradients of images and parameters."""
    images = images.clone().requires_grad_()
    output = model(images)
    weights = torch.linspace(-1, 2, output.numel()).view_as(output)
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), [images, *model.parameters()])]


def in_plain_algebra(convolution: nn.Conv2d, images: Tensor) -> list[Tensor]:
    """Return `results` by sums over the pixels seen, in float64."""
    rows, columns = convolution.stride
    weight = convolution.weight.detach().double()[:, :, 0, 0].requires_grad_()
    bias = None if convolution.bias is None else convolution.bias.detach().double().requires_grad_()
    whole = images.double().requires_grad_()
    pixels = whole[:, :, ::rows, ::columns].unflatten(1, (convolution.groups, -1))
    output = torch.einsum("ngihw,goi->ngohw", pixels, weight.unflatten(0, (convolution.groups, -1))).flatten(1, 2)
    output = output if bias is None else output + bias[:, None, None]
    weights = torch.linspace(-1, 2, output.numel(), dtype=torch.float64).view_as(output)
    leaves = [whole, weight, *([] if bias is None else [bias])]
    found = [output.detach(), *torch.autograd.grad((output * weights).sum(), leaves)]
    found[2] = found[2][:, :, None, None]
    return [value.float() for value in found]


_CASES = {
    "as in ResNets": (strided(), 8),
    "odd images": (strided(5), 7),
    "grey": (strided(1), 8),
    "rows only": (strided(3, (3, 1)), 8),
    "columns only, groups": (strided(6, (1, 2), groups=2), 9),
    "without a bias": (nn.Conv2d(7, 8, 1, stride=2, bias=False), 16),
    "one pixel": (strided(), 2),
}


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("count", [1, 2, 16])
def test_alone_it_does_the_same_on_the_pixels_seen(case: str, count: int) -> None:
    convolution, side = _CASES[case]
    images = torch.randn(count, convolution.in_channels, side, side).contiguous(memory_format=torch.channels_last)
    model = nn.Sequential(copy.deepcopy(convolution))
    without_skipping(model)
    for found, expected in zip(results(model, images), in_plain_algebra(convolution, images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("count", [1, 2, 16])
def test_in_a_block_it_does_the_same_on_the_pixels_seen(case: str, count: int) -> None:
    convolution, side = _CASES[case]
    images = torch.randn(count, convolution.in_channels, side, side).contiguous(memory_format=torch.channels_last)
    network = fused(nn.Sequential(copy.deepcopy(convolution), nn.LeakyReLU(1.0)), torch.float32)
    assert network is not None
    for found, expected in zip(results(network, images), in_plain_algebra(convolution, images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_does_something_else_is_left_as_it_is() -> None:
    class Mine(nn.Conv2d):
        pass

    hooked = strided()
    hooked.register_forward_hook(lambda *_: None)
    model = nn.Sequential(hooked, Mine(6, 4, 1, stride=2), nn.Conv2d(4, 4, 3, stride=2))
    without_skipping(model)
    assert [type(module) for module in model] == [nn.Conv2d, Mine, nn.Conv2d]


@pytest.mark.usefixtures("kernels")
def test_a_narrow_model_keeps_its_own_memory_format_for_those_who_go_on_with_it() -> None:
    for width, expected in ((4, False), (16, True)):
        model = build(ModelSpec("resnet20", {"width": width}), (3, 8, 8), 5, seed=0)
        Network(model, mode="fused", precision="float32")
        wide = [p for p in model.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide) is expected


_TRAINING = """
import sys
import torch
import torch.nn.functional as F
from dp_core.distillation.inner_gradient import InnerGradient
from dp_core.models import ModelSpec, build
from dp_core.training.network import Network

torch.set_num_threads(1)  # with more of them one writes into another's memory first
images, labels = torch.randn(4, 3, 8, 8), torch.arange(4)
for way in sys.argv[1:]:
    model = build(ModelSpec("resnet20", {"width": 4}), (3, 8, 8), 5, seed=0)
    if way == "twice":
        inner = InnerGradient(model)
        parameters = {name: value.detach() for name, value in model.named_parameters()}
        for _ in range(2):
            inner.products(parameters, images, labels, parameters, hessian=True)
        continue
    mode, _, precision = way.partition(" ")
    network = Network(model, mode=mode, precision=precision)
    for _ in range(2):
        F.cross_entropy(network(images), labels).backward()
    F.cross_entropy(model(images), labels).backward()  # someone who goes on with the model itself
print("sound")
"""


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    "ways", [["fused float32", "fused bfloat16", "eager float32", "eager bfloat16", "twice"], ["compiled float32"]]
)
def test_nothing_is_written_beyond_what_is_allocated(ways: list[str]) -> None:
    environment = os.environ | {"LD_PRELOAD": _DEBUGGING, "MALLOC_CHECK_": "3"}
    if subprocess.run(["true"], env=environment, capture_output=True, check=True).stderr:
        pytest.skip("the C library here cannot check its heap")
    command = [sys.executable, "-c", _TRAINING, *ways]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert (result.returncode, result.stdout) == (0, "sound\n"), result.stderr
