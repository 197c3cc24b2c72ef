from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from dp_core.cost import CostModel
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def images(count: int, side: int) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def with_weights_of(reference: nn.Module, model: nn.Module) -> nn.Module:
    """Return `reference` with the parameters and buffers of `model`, whose layers come in the same order."""
    theirs, ours = reference.state_dict(), model.state_dict()
    assert [tuple(v.shape) for v in theirs.values()] == [tuple(v.shape) for v in ours.values()]
    reference.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    return reference


def torchvisions(blocks: list[int], classes: int) -> ResNet:
    """Return torchvision's network with the stem that is usual for CIFAR; no block means no stage."""
    reference = ResNet(BasicBlock, [max(count, 1) for count in blocks], num_classes=classes)
    reference.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    reference.maxpool = nn.Identity()
    if not blocks[3]:
        reference.layer4, reference.fc = nn.Identity(), nn.Linear(256, classes)
    return reference


def test_resnet20_has_the_parameters_that_its_layers_add_up_to() -> None:
    # Convolutions 3×3: one from the image, then 6 a stage, of which the first of a later stage comes from half the
    # channels; a 1×1 shortcut with norm where the channels change; a norm (2 a channel) behind each; linear 64 → 10.
    convolutions = 9 * (3 * 16 + 6 * 16 * 16 + (16 * 32 + 5 * 32 * 32) + (32 * 64 + 5 * 64 * 64))
    shortcuts = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    expected = convolutions + shortcuts + norms + 64 * 10 + 10
    assert parameters(build(ModelSpec("resnet20"), (3, 32, 32), 10)) == expected == 272_474


def test_resnet18_has_the_known_parameters() -> None:
    assert parameters(build(ModelSpec("resnet18"), (3, 32, 32), 10)) == 11_173_962  # the usual CIFAR ResNet-18
    imagenet = build(ModelSpec("resnet18", {"stem": "imagenet"}), (3, 224, 224), 1000)
    assert parameters(imagenet) == 11_689_512  # torchvision's


def test_resnet20_spends_the_papers_operations() -> None:
    """41 million multiply-accumulates, as usually given for CIFAR-10."""
    model = build(ModelSpec("resnet20"), (3, 32, 32), 10)
    # Each stage: 6 convolutions; a position has 4 times fewer pixels and 4 times more weights in the next stage.
    stage = 9 * 16 * 16 * 1024
    halved = stage // 2  # the first convolution of a later stage
    shortcuts = 16 * 32 * 256 + 32 * 64 * 64
    expected = 9 * 3 * 16 * 1024 + 6 * stage + 2 * (5 * stage + halved) + shortcuts + 640
    assert CostModel(model, (3, 32, 32))().flops_dense == 2 * expected


@pytest.mark.parametrize("side", [15, 16])
@pytest.mark.parametrize(("name", "blocks", "classes"), [("resnet20", [3, 3, 3, 0], 10), ("resnet18", [2, 2, 2, 2], 5)])
def test_logits_are_those_of_torchvisions_network_with_the_same_weights(
    name: str, blocks: list[int], classes: int, side: int
) -> None:
    model = build(ModelSpec(name, {"width": 64}), (3, side, side), classes, seed=0)
    reference = with_weights_of(torchvisions(blocks, classes), model)
    batch = images(3, side)
    torch.testing.assert_close(model(batch), reference(batch), rtol=1e-4, atol=1e-5)  # in training
    torch.testing.assert_close(model.eval()(batch), reference.eval()(batch), rtol=1e-4, atol=1e-5)


def test_the_stem_of_imagenet_is_torchvisions() -> None:
    model = build(ModelSpec("resnet18", {"stem": "imagenet"}), (3, 50, 50), 4, seed=0)
    reference = with_weights_of(ResNet(BasicBlock, [2, 2, 2, 2], num_classes=4), model)
    batch = images(2, 50)
    torch.testing.assert_close(model(batch), reference(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("stem", "shape", "kernel"),
    [
        ("auto", (3, 32, 32), 3),
        ("auto", (3, 64, 64), 3),  # Tiny-ImageNet
        ("auto", (3, 65, 65), 7),
        ("auto", (3, 64, 96), 3),
        ("cifar", (3, 224, 224), 3),
        ("imagenet", (3, 32, 32), 7),
    ],
)
def test_the_stem_follows_the_shorter_side_unless_it_is_given(
    stem: str, shape: tuple[int, int, int], kernel: int
) -> None:
    model = build(ModelSpec("resnet18", {"width": 2, "stem": stem}), shape, 10)
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert (first.kernel_size, first.stride) == ((kernel, kernel), (1, 1) if kernel == 3 else (2, 2))
    assert any(isinstance(module, nn.MaxPool2d) for module in model.modules()) == (kernel == 7)


def test_an_unknown_stem_is_told_with_the_nearest_right_one() -> None:
    with pytest.raises(UserError, match=r"resnet18 has no stem 'cifra'\. Did you mean 'cifar'\? Known: auto, cifar"):
        build(ModelSpec("resnet18", {"stem": "cifra"}), (3, 32, 32), 10)


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
def test_an_image_of_one_pixel_is_enough(name: str) -> None:
    model = build(ModelSpec(name, {"width": 2}), (4, 1, 1), 3)
    assert model(torch.randn(2, 4, 1, 1)).shape == (2, 3)
