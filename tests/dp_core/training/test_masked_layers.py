"""Removed weights of every kind of layer are exactly zero while training, and are not used afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from dp_core.pruning import GlobalMagnitude, Mask, no_examples
from dp_core.training import Population, Recipe, Training, TrainingData, evaluate

CLASSES = 3


class Pixels(nn.Module):
    """A layer on the pixels as a sequence [N, 16, 2], the mean of its outputs classified."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(2).transpose(1, 2)
        attends = isinstance(self.layer, nn.MultiheadAttention)
        found = self.layer(pixels, pixels, pixels, need_weights=False) if attends else self.layer(pixels)
        outputs: Tensor = found[0] if isinstance(found, tuple) else found
        return self.classifier(outputs.mean(1))


def upwards() -> nn.Module:
    up = nn.ConvTranspose2d(3, 4, 2, stride=2)
    layers = (nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), up, nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 16, CLASSES))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: Pixels(nn.LSTM(2, 6, batch_first=True), 6),
    "projected": lambda: Pixels(nn.LSTM(2, 6, proj_size=3, batch_first=True), 3),
    "gru": lambda: Pixels(nn.GRU(2, 3, bidirectional=True, batch_first=True), 6),
    "attention": lambda: Pixels(nn.MultiheadAttention(2, 1, batch_first=True), 2),
    "transformer": lambda: Pixels(nn.TransformerEncoderLayer(2, 1, 8, dropout=0.0, batch_first=True), 2),
    "transposed": upwards,
}


def images() -> TrainingData:
    draw = torch.Generator().manual_seed(0)
    return TrainingData(torch.randn(12, 2, 4, 4, generator=draw), torch.arange(12) % CLASSES)


@pytest.mark.parametrize("mode", ["eager", "fused"])
@pytest.mark.parametrize("name", NETWORKS)
def test_removed_weights_stay_zero_and_are_not_missed(name: str, mode: Literal["eager", "fused"]) -> None:
    torch.manual_seed(1)
    model, data = NETWORKS[name](), images()
    mask = GlobalMagnitude()(model, Mask.ones(model), 0.5, torch.Generator(), no_examples)
    training = Training(model, data, Recipe(steps=4, batch_size=6, mode=mode), seed=0, mask=mask)
    training.run()
    parameters = dict(model.named_parameters())
    assert all(not parameters[key][~kept].any() for key, kept in mask.items())
    gradients = [parameters[key].grad for key in mask]
    assert all(gradient is not None and gradient.any() for gradient in gradients)
    found = evaluate(model, data, mode=mode)
    # A network made anew of what is kept, in which nothing else can hide, comes to the same.
    rebuilt = NETWORKS[name]()
    rebuilt.load_state_dict({key: value.contiguous() for key, value in model.state_dict().items()})
    mask.apply_(rebuilt)
    assert evaluate(rebuilt, data, mode="eager").loss == pytest.approx(found.loss, rel=1e-2)
    # In evaluation torch computes attention and recurrent layers by other kernels than in training.
    with torch.no_grad():
        fast = rebuilt.eval()(data.images)
    assert torch.allclose(fast, rebuilt(data.images), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_population_of_masked_networks_is_trained_as_each_alone(name: str) -> None:
    ends = []
    for together in (False, True):
        members = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            model = NETWORKS[name]()
            mask = GlobalMagnitude()(model, Mask.ones(model), 0.5, torch.Generator(), no_examples)
            recipe = Recipe(steps=3, batch_size=6, mode="eager", precision="float32")
            members.append(Training(model, images(), recipe, seed=seed, mask=mask))
        strategy: Literal["batched", "in_turn"] = "batched" if together else "in_turn"
        Population(members, strategy=strategy).run()
        ends.append([{key: value.clone() for key, value in member.model.state_dict().items()} for member in members])
    for alone, mapped in zip(*ends, strict=True):
        assert all(torch.allclose(alone[key], mapped[key], atol=1e-5) for key in alone)
