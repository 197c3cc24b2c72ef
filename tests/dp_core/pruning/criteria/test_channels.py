"""Whole channels, whose removal a smaller network is to compute the same without."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.pruning import (
    GradualPruning,
    Mask,
    NOfM,
    Scope,
    UpdateWindow,
    WholeChannels,
    check_criterion,
    criterion_named,
)
from dp_core.pruning.criteria.channel_groups import channel_groups
from dp_core.training import Recipe, Training, TrainingData
from tests.dp_core.pruning.criteria.calling import draw, examples_of

SHAPE = (2, 8, 8)
IMAGES = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(5) % 3


def chain(seed: int = 0) -> nn.Sequential:
    """Two convolutions, one of 4 channels and one of 3, whose 16 places each a linear layer reads."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3),
    )  # fmt: skip


def pruned(model: nn.Module, sparsity: float, mask: Mask | None = None) -> Mask:
    examples = examples_of(IMAGES, LABELS)
    return WholeChannels()(model, mask or Mask.ones(model), sparsity, draw(), examples)


def gone(mask: Mask, name: str, dimension: int = 0) -> list[int]:
    """Return the indices along a dimension at which nothing is kept."""
    tensor = mask[name].movedim(dimension, 0).flatten(1)
    return (~tensor.any(1)).nonzero().squeeze(1).tolist()


def test_a_channel_is_what_makes_and_what_reads_it() -> None:
    first, second = sorted(channel_groups(chain(), IMAGES[:1]), key=lambda group: -group.size)
    found = {(name, dimension): channels.tolist() for name, dimension, channels in first.places}
    assert found == {("0.weight", 0): [0, 1, 2, 3], ("4.weight", 1): [0, 1, 2, 3]}
    found = {(name, dimension): channels.tolist() for name, dimension, channels in second.places}
    assert found == {("4.weight", 0): [0, 1, 2], ("7.weight", 1): [place // 16 for place in range(48)]}


def test_those_of_smallest_mean_square_go() -> None:
    model = chain()
    mask = pruned(model, 0.3)
    conv, second, linear = (model.get_parameter(f"{place}.weight").detach() for place in (0, 4, 7))
    scores = [(float((conv[c] ** 2).sum() + (second[:, c] ** 2).sum()) / (18 + 27), "first", c) for c in range(4)] + [
        (float((second[c] ** 2).sum() + (linear[:, 16 * c : 16 * c + 16] ** 2).sum()) / (36 + 48), "second", c)
        for c in range(3)
    ]
    expected: dict[str, list[int]] = {"first": [], "second": []}
    total, zeros = 72 + 108 + 144, 0
    for _, group, channel in sorted(scores):
        if zeros >= round(0.3 * total):
            break
        expected[group].append(channel)
        a, b = 4 - len(expected["first"]), 3 - len(expected["second"])
        zeros = total - (18 * a + 9 * a * b + 48 * b)
    assert gone(mask, "0.weight") == sorted(expected["first"]) == gone(mask, "4.weight", 1)
    assert gone(mask, "4.weight") == sorted(expected["second"])
    assert mask.total - mask.kept == zeros


def test_a_smaller_dense_network_computes_the_same() -> None:
    model = chain().eval()
    mask = pruned(model, 0.5)
    mask.apply_(model)
    first = [c for c in range(4) if c not in gone(mask, "0.weight")]
    second = [c for c in range(3) if c not in gone(mask, "4.weight")]
    assert (len(first), len(second)) != (4, 3)
    small = nn.Sequential(
        nn.Conv2d(2, len(first), 3, padding=1), nn.BatchNorm2d(len(first)), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(len(first), len(second), 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * len(second), 3),
    ).eval()  # fmt: skip
    state = model.state_dict()
    places = [16 * c + place for c in second for place in range(16)]
    cut: dict[str, Tensor] = {
        "0.weight": state["0.weight"][first], "0.bias": state["0.bias"][first],
        **{f"1.{name}": state[f"1.{name}"][first] for name in ("weight", "bias", "running_mean", "running_var")},
        "4.weight": state["4.weight"][second][:, first], "4.bias": state["4.bias"][second],
        "7.weight": state["7.weight"][:, places], "7.bias": state["7.bias"],
    }  # fmt: skip
    small.load_state_dict(cut, strict=False)
    torch.testing.assert_close(small(IMAGES), model(IMAGES))
    kept = sum(value.numel() for name, value in small.named_parameters() if value.dim() > 1)
    assert mask.kept == kept


@pytest.mark.parametrize(
    ("name", "settings_"),
    [
        ("convnet", {"depth": 2, "width": 6}),
        ("resnet20", {"width": 4}),
        ("vgg11", {"width": 4}),
        ("alexnet", {"width": 8}),
    ],
)
def test_nothing_of_a_removed_channel_reaches_an_output(name: str, settings_: dict[str, Any]) -> None:
    """Whatever its layers give out: with other values there the network answers the same."""
    shape = (3, 32, 32)
    model = build(ModelSpec(name, settings_), shape, 5, seed=0).eval()
    images = torch.randn(2, *shape, generator=draw(3))
    mask = WholeChannels()(model, Mask.ones(model), 0.6, draw(), lambda count: (images[:count], LABELS[:count]))
    assert mask.sparsity >= 0.6
    mask.apply_(model)
    before = model(images)
    assert not torch.equal(before[0], before[1])
    disturbed = set[str]()
    for group in channel_groups(model, images[:1]):
        for key, dimension, _ in group.places:
            if dimension == 0 and (empty := gone(mask, key)):
                layer = model.get_submodule(key.removesuffix(".weight"))
                layer.register_forward_hook(lambda module, inputs, output, empty=empty: _raised(output, empty))
                disturbed.add(key)
    assert disturbed
    torch.testing.assert_close(model(images), before)


def _raised(output: Tensor, channels: list[int]) -> Tensor:
    output = output.clone()
    output[:, channels] += 1.0
    return output


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.01, 0.75), min_size=1, max_size=3).map(sorted), st.integers(0, 50))
def test_masks_nest_have_enough_zeros_and_keep_a_channel_of_each(rising: list[float], seed: int) -> None:
    mask = Mask.ones(chain())
    for step, sparsity in enumerate(rising):
        before, model = mask, chain(seed + step)
        mask = pruned(model, sparsity, before)
        assert mask.total - mask.kept >= round(sparsity * mask.total)
        assert all((before[name] | ~mask[name]).all() for name in mask)
        assert all(tensor.any() for tensor in mask.values())
        assert not gone(mask, "7.weight")  # the network's outputs
        assert gone(mask, "0.weight") == gone(mask, "4.weight", 1)
        again = pruned(chain(seed + 9), mask.sparsity, mask)
        assert all(torch.equal(again[name], mask[name]) for name in mask)


def test_the_model_is_left_as_it_was() -> None:
    model = chain().train()
    before = copy.deepcopy(model.state_dict())
    pruned(model, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_training_ends_with_whole_channels() -> None:
    model = build(ModelSpec("convnet", {"depth": 2, "width": 8}), SHAPE, 3, seed=0)
    rule = GradualPruning(0.7, criterion_named("channels"), UpdateWindow(0.1, 0.8, 3))
    recipe = Recipe(steps=20, batch_size=5, learning_rate=0.01, mode="fused")
    run = Training(model, TrainingData(IMAGES, LABELS), recipe, seed=0, mask=Mask.ones(model), rule=rule)
    sparsities = []
    for _ in range(20):
        run.run(1)
        sparsities.append(Mask(run.mask).sparsity)
    assert sparsities == sorted(sparsities)
    assert 0.7 <= sparsities[-1] < 0.8
    assert len(set(sparsities)) > 2
    mask = Mask(run.mask)
    assert gone(mask, "blocks.0.weight") == gone(mask, "blocks.4.weight", 1) != []
    assert all(not model.get_parameter(name)[~kept].any() for name, kept in mask.items())


class Deciding(nn.Module):
    """Does not say where its values go: it takes them out of torch and back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.classifier = nn.Linear(128, 4), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[0] == 1:
            raise RuntimeError("one image is too few")
        found: Tensor = self.classifier(self.layer(images.flatten(1)))
        return found


def test_what_cannot_be_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^Whole channels make this network .* sparse at most, not 99.0%: one of each"):
        pruned(chain(), 0.99)
    with pytest.raises(UserError, match=r"^This network has no channel that could be removed"):
        pruned(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)), 0.5)
    with pytest.raises(UserError, match=r"^The channels of this network cannot be followed: .*one image is too few"):
        pruned(Deciding(), 0.5)
    with pytest.raises(ValueError, match="cannot be pruned"):
        pruned(chain(), 1.0)


def test_a_criterion_is_checked_against_the_network_before_anything_starts() -> None:
    check_criterion(criterion_named("channels"), chain(), SHAPE, Scope(), 0.5)
    with pytest.raises(UserError, match=r"sparse at most, not 99\.0%"):
        check_criterion(criterion_named("channels"), chain(), SHAPE, Scope(), 0.99)
    with pytest.raises(UserError, match="no channel that could be removed"):
        check_criterion(criterion_named("channels"), nn.Sequential(nn.Flatten(), nn.Linear(128, 3)), SHAPE, Scope())
    with pytest.raises(UserError, match=r"^The pattern 2:7 fits no layer of this network: none has a multiple of 7"):
        check_criterion(NOfM(2, 7), chain(), SHAPE, Scope())
