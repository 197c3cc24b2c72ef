from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.models import check_forward
from tests.dp_core.small import CLASSES, SHAPE, copy_of, same, small_model


class Careless(nn.Module):
    """Counts its calls in one buffer, replaces another, draws random numbers, and switches its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1))
        self.linear = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        self.get_buffer("calls").add_(1)
        self.last = images.mean() + torch.rand(1)
        self.train()
        return self.linear(images.flatten(1))


class Keeps(nn.Module):
    """Makes what it needs when first called, and keeps it as no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.scale: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        if self.scale is None:
            self.scale = torch.full_like(images[:1], 2.0).flatten(1)
        return self.linear(images.flatten(1)) * self.scale.sum() + (self.linear.weight * self.scale).sum()


class Returns(nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor) -> object:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.mark.parametrize("training", [True, False])
def test_everything_stays_as_it_was(training: bool) -> None:
    model = nn.Sequential(Careless(), nn.BatchNorm1d(3)).train(training)
    model[1].train(not training)
    last = model[0].get_buffer("last")
    before, generator = copy_of(model), torch.get_rng_state()
    check_forward(model, "careless", (1, 2, 2), 3)
    assert same(copy_of(model), before)
    assert model[0].get_buffer("last") is last
    assert [module.training for module in model.modules()] == [training, training, training, not training]
    assert torch.equal(torch.get_rng_state(), generator)


def test_it_stays_so_where_the_forward_pass_fails() -> None:
    model = nn.Sequential(Careless(), nn.BatchNorm1d(5))
    before, generator = copy_of(model), torch.get_rng_state()
    with pytest.raises(UserError, match="'careless' fails on images of 1×2×2: "):
        check_forward(model, "careless", (1, 2, 2), 3)
    assert same(copy_of(model), before)
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_model_that_fits_passes_with_and_without_parameters_and_in_any_precision() -> None:
    check_forward(small_model(), "small", SHAPE, CLASSES)
    check_forward(small_model().double(), "small", SHAPE, CLASSES)
    check_forward(nn.Flatten(), "flatten", (1, 2, 3), 6)


def test_a_tensor_that_the_model_keeps_does_not_spoil_its_training() -> None:
    """As one of inference mode would, of which no gradient can be taken."""
    model = Keeps()
    check_forward(model, "keeps", (1, 2, 2), 3)
    model(torch.ones(2, 1, 2, 2)).sum().backward()
    assert model.linear.weight.grad is not None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, 4), r"The model 'mine' returns \[2, 4\] for 2 images of 3×8×8, not \[2, 5\]\."),
        (torch.zeros(5), r"returns \[5\] for 2 images of 3×8×8, not \[2, 5\]\."),
        (torch.zeros(()), r"returns \[\] for 2 images"),
        ((torch.zeros(2, 5), None), r"returns tuple for 2 images of 3×8×8, not \[2, 5\]\."),
        (None, r"returns NoneType for"),
        (ValueError("too small.\nand more"), r"^The model 'mine' fails on images of 3×8×8: too small\.$"),
        (ZeroDivisionError(), r"fails on images of 3×8×8: ZeroDivisionError\.$"),
        (RuntimeError("\n"), r"fails on images of 3×8×8: RuntimeError\.$"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_forward(Returns(value), "mine", (3, 8, 8), 5)
