from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.training import Recipe, rehearsed
from tests.dp_core.own_networks import CLASSES, OWN, SHAPE
from tests.dp_core.small import copy_of, same

RECIPE = Recipe(steps=100, batch_size=16)


class Body(nn.Module):
    """A convolution with a norm, and a linear layer; what it does with them, a subclass says."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(36, CLASSES)

    def forward(self, images: Tensor) -> Any:
        return self.head(self.body(images).flatten(1))


class Auxiliary(Body):
    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


class Named(Body):
    def forward(self, images: Tensor) -> Any:
        return {"logits": super().forward(images)}


class Wide(Body):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images)[:, :, None, None]


class Whole(Body):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).argmax(1, keepdim=True).expand(-1, CLASSES)


class Squeezed(Body):
    """Has a batch norm with one value a channel and image."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(CLASSES)

    def forward(self, images: Tensor) -> Any:
        return self.norm(super().forward(images))


class Overwriting(Body):
    """Changes in place what the way back needs."""

    def forward(self, images: Tensor) -> Any:
        features = self.body(images).sigmoid()
        features += 1
        return self.head(features.flatten(1))


class Remembering(Body):
    """Goes back through the step before, as a hidden state that is not detached does."""

    state: Any = 0.0

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        self.state = logits.mean() + self.state
        return logits + self.state


class Undefined(Body):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images) / 0 * 0


class Late(Body):
    """Makes a parameter in the forward pass."""

    def forward(self, images: Tensor) -> Any:
        if not hasattr(self, "scale"):
            self.scale = nn.Parameter(torch.ones(CLASSES))
        return super().forward(images) * self.scale


class Renewed(Body):
    """Replaces a parameter in training."""

    def forward(self, images: Tensor) -> Any:
        if self.training:
            self.head.weight = nn.Parameter(self.head.weight.detach().clone())
        return super().forward(images)


class Generating(Body):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = (number for number in range(9))


class Growing(Body):
    """Has other buffers after its first step than when it is built."""

    def forward(self, images: Tensor) -> Any:
        if self.training:
            self.register_buffer("seen", images.mean((0, 2, 3)))
        return super().forward(images)


class Unused(Body):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(36, CLASSES)


class Shared(Body):
    def __init__(self) -> None:
        super().__init__()
        self.again = self.head

    def forward(self, images: Tensor) -> Any:
        features = self.body(images).flatten(1)
        return self.head(features) + self.again(features.relu())


class Lambda(Body):
    def __init__(self) -> None:
        super().__init__()
        self.act = lambda features: features.tanh()

    def forward(self, images: Tensor) -> Any:
        return self.act(super().forward(images))


class Hooked(Body):
    def __init__(self) -> None:
        super().__init__()
        self.body.register_forward_hook(lambda _module, _inputs, output: output * 2)


class Dropping(Body):
    def forward(self, images: Tensor) -> Any:
        return nn.functional.dropout(super().forward(images), 0.5, self.training)


class Keeping(Body):
    """Keeps the features of its last pass, as those do who look at them later."""

    features: Any = None

    def forward(self, images: Tensor) -> Any:
        self.features = self.body(images)
        return self.head(self.features.flatten(1))


def frozen(kind: type[Body], *, whole: bool) -> nn.Module:
    model = kind()
    (model if whole else model.body).requires_grad_(False)
    return model


def lazy() -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.LazyLinear(CLASSES)
    )


WORK: dict[str, Callable[[], nn.Module]] = {
    **{kind.__name__: kind for kind in (Unused, Shared, Lambda, Hooked, Dropping, Keeping, Squeezed)},
    "a frozen body": lambda: frozen(Body, whole=False),
    "lazy layers": lazy,
    **OWN,
}
FAIL: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "two outputs in training": (Auxiliary, r"returns tuple for 2 images of 3×8×8 in training mode, not \[2, 5\]\.$"),
    "a dict": (Named, r"returns dict for 2 images of 3×8×8, not \[2, 5\]\.$"),
    "too many dimensions": (Wide, r"returns \[2, 5, 1, 1\] for 2 images"),
    "whole numbers": (Whole, r"returns torch.int64, not real numbers\.$"),
    "backward": (Overwriting, r"fails in a step of training: one of the variables needed for gradient"),
    "a second step": (Remembering, r"fails in a step of training: Trying to backward"),
    "a late parameter": (Late, r"makes its parameter 'scale' in the forward pass"),
    "a replaced parameter": (Renewed, r"makes its parameter 'head.weight' in the forward pass"),
    "no copy": (Generating, r"cannot be copied: cannot pickle 'generator' object\.$"),
    "other names": (Growing, r"cannot be built again around its trained weights: Unexpected key\(s\).*\"seen\""),
    "all frozen": (lambda: frozen(Body, whole=True), r"has no parameter that can be trained\.$"),
    "no parameters": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), r"returns \[2, 3\]"),
}


@pytest.fixture
def spec_of() -> Iterator[Callable[[Callable[[], nn.Module]], ModelSpec]]:
    module = ModuleType("rehearsed_networks")
    sys.modules[module.__name__] = module

    def spec(make: Callable[[], nn.Module]) -> ModelSpec:
        module.net = lambda shape, classes: make()  # type: ignore[attr-defined]
        return ModelSpec("rehearsed_networks:net")

    yield spec
    del sys.modules[module.__name__]


@pytest.mark.parametrize("case", WORK)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["eager", "fused", "compiled"])
def test_what_can_be_trained_passes_and_is_new(spec_of: Any, case: str, mode: Any, precision: Any) -> None:
    spec, state = spec_of(WORK[case]), torch.get_rng_state()
    model = rehearsed(spec, SHAPE, CLASSES, Recipe(steps=9, mode=mode, precision=precision))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert same(copy_of(model), copy_of(build(spec, SHAPE, CLASSES, seed=0)))


@pytest.mark.parametrize("case", FAIL)
def test_what_cannot_be_trained_is_told_in_one_sentence(spec_of: Any, case: str) -> None:
    make, message = FAIL[case]
    with pytest.raises(UserError, match=message) as caught:
        rehearsed(spec_of(make), SHAPE, CLASSES, RECIPE)
    assert str(caught.value).startswith("The model 'rehearsed_networks:net' ")
    assert "\n" not in str(caught.value)


def test_what_diverges_is_left_to_the_trainings_that_it_happens_to(spec_of: Any) -> None:
    rehearsed(spec_of(Undefined), SHAPE, CLASSES, RECIPE)


class Filling(Body):
    """Writes what it computes into a tensor of its input's type, which takes no other."""

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return images.new_zeros(logits.shape).index_add(0, torch.arange(len(images)), logits)


def test_a_failure_in_a_precision_that_was_not_asked_for_names_it(
    spec_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(Filling)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    rehearsed(spec, SHAPE, CLASSES, RECIPE)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    with pytest.raises(UserError, match=r"fails in a step of training in bfloat16, which precision 'auto' takes here:"):
        rehearsed(spec, SHAPE, CLASSES, RECIPE)


def test_a_batch_of_one_is_tried_where_the_recipe_has_one(spec_of: Any) -> None:
    with pytest.raises(UserError, match=r"fails in a step of training of one image: Expected more than 1 value"):
        rehearsed(spec_of(Squeezed), SHAPE, CLASSES, RECIPE, Recipe(steps=3, batch_size=1))


def test_every_recipe_is_tried(spec_of: Any) -> None:
    class Single(Body):
        def forward(self, images: Tensor) -> Any:
            logits = super().forward(images)
            if logits.dtype == torch.bfloat16:
                raise ValueError("no halves, please")
            return logits

    spec = spec_of(Single)
    rehearsed(spec, SHAPE, CLASSES, Recipe(steps=3, precision="float32"))
    with pytest.raises(UserError, match=r"fails in a step of training in bfloat16: no halves, please\.$"):
        rehearsed(spec, SHAPE, CLASSES, *(Recipe(steps=3, precision=wide) for wide in ("float32", "bfloat16")))


def test_our_own_architectures_pass() -> None:
    for name in ("convnet", "resnet20"):
        rehearsed(ModelSpec(name, {"width": 4}), SHAPE, CLASSES, RECIPE, Recipe(epochs=3, optimizer="adamw"))
