from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.stability.states import loss_surface
from dp_core.training import TrainingData
from tests.dp_core.small import CLASSES, SHAPE, copy_of, random_data, same, small_model


class Fragile(nn.Module):
    """Fails at its third forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = small_model("batch")
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        if self.passes == 3:
            raise RuntimeError("third")
        return self.inside(images)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails_in", ["statistics", "evaluation"])
def test_everything_is_put_back_even_after_an_exception(training: bool, fails_in: str) -> None:
    model, data = Fragile().train(training), random_data(20)
    parameters = [(p, p.stride()) for p in model.parameters()]
    before, norm = copy_of(model), model.get_submodule("inside.blocks.1")
    batch_size = 5 if fails_in == "statistics" else 10
    surface = loss_surface(model, data, statistics=data, batch_size=batch_size, precision="float32")
    with pytest.raises(RuntimeError, match="third"), surface as at:
        at({name: torch.ones_like(value) for name, value in before.items()})
    assert same(copy_of(model), before)
    assert all(module.training is training for module in model.modules())
    assert norm.momentum == 0.1
    assert [(p, p.stride()) for p in model.parameters()] == parameters
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_mistakes_are_told() -> None:
    soft = TrainingData(torch.zeros(4, *SHAPE), torch.full((4, CLASSES), 1 / CLASSES))
    for data, batch_size, text in ((soft, 5, "soft labels"), (random_data(), 0, "at least 1 image")):
        surface = loss_surface(small_model(), data, statistics=None, batch_size=batch_size, precision="float32")
        with pytest.raises(UserError, match=text), surface:
            pass
