from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dp_core.kernels import takes_any_format
from dp_core.kernels.formats import in_format
from dp_core.models import ARCHITECTURES, ModelSpec, build
from dp_core.models.convnet import ConvNet


class Open(nn.Module):
    """Says of itself that it takes any format."""

    any_memory_format = True

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Heir(Open):
    """Inherits the word, and does something else."""

    def forward(self, images: Tensor) -> Tensor:
        return images.view(len(images), -1)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    model[0].register_forward_hook(lambda *_: None)
    return model


def replaced() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    model[1].forward = lambda images: images.view(len(images), -1)
    return model


KNOWN: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "layers of torch": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten()), True),
    "one that says so": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), Open()), True),
    "one that inherits it": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), Heir()), False),
    "a heir of ours": (lambda: type("Mine", (ConvNet,), {})(nn.Sequential(), 4, 2), False),
    "a hook": (hooked, False),
    "another forward": (replaced, False),
    "a parametrised weight": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), False),
    "a layer of torch that views": (lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2)), False),
    "images changed in place": (lambda: nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(4, 2)), False),
}


@pytest.mark.parametrize("case", KNOWN)
def test_only_what_is_known_takes_any_format(case: str) -> None:
    make, expected = KNOWN[case]
    assert takes_any_format(make()) is expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_our_own_architectures_take_any_format(name: str) -> None:
    model = build(ModelSpec(name), (3, 32, 32), 10, seed=0)
    assert takes_any_format(model)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = model.eval()(images)
    last = model.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (2, 6, 1, 1), (1, 1, 1, 1), (1, 3, 1, 5)])
def test_a_format_is_put_right_to_the_last_stride(shape: tuple[int, ...]) -> None:
    last = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    found = in_format(torch.randn(shape).to(memory_format=torch.channels_last), last=False)
    assert found.stride() == torch.empty(shape).stride()
    assert torch.equal(in_format(last, last=False), last)
    assert in_format(last, last=True) is last
