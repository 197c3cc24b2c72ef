"""What holds for every architecture of the registry, a new one included."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.kernels import block_library, fused
from dp_core.models import ARCHITECTURES, INITIALISATIONS, ModelSpec, build, check_forward
from dp_core.pruning import Mask, prunable_parameters
from tests.dp_core.small import copy_of, same

EVERY = pytest.mark.parametrize("name", ARCHITECTURES)

# Narrow, so that the whole is quick; an architecture that is not here is tested as it is by default.
NARROW: dict[str, dict[str, Any]] = {
    "convnet": {"width": 8},
    "alexnet": {"width": 8},
    "resnet20": {"width": 4},
    "resnet18": {"width": 4},
    "vgg11": {"width": 4},
    "vgg16": {"width": 4},
    "vit": {"width": 16, "depth": 2},
    "nasbench201": {"width": 4, "cells": 1},
}


def narrow(name: str, **hyperparameters: object) -> ModelSpec:
    return ModelSpec(name, NARROW.get(name, {}) | hyperparameters)


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@EVERY
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (2, 16, 24), (3, 64, 64)])
@pytest.mark.parametrize("classes", [2, 7])
def test_images_become_one_finite_logit_a_class(name: str, shape: tuple[int, int, int], classes: int) -> None:
    model = build(narrow(name), shape, classes, seed=0)
    logits = model(images(2, *shape))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])
    check_forward(model, name, shape, classes)


@EVERY
def test_an_image_does_not_depend_on_the_others_of_its_batch(name: str) -> None:
    model = build(narrow(name), (3, 32, 32), 5, seed=0).eval()
    batch = images(3, 3, 32, 32)
    torch.testing.assert_close(model(batch)[1:2], model(batch[1:2]), rtol=1e-4, atol=1e-6)


@EVERY
@pytest.mark.parametrize("initialisation", ["default", "kaiming_normal"])
def test_gradients_reach_all_parameters(name: str, initialisation: str) -> None:
    model = build(narrow(name, initialisation=initialisation), (3, 32, 32), 5, seed=0)
    model(images(4, 3, 32, 32)).square().sum().backward()
    unreached = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert unreached == []
    still = [key for key, p in prunable_parameters(model).items() if p.grad is None or not p.grad.any()]
    assert still == []


@EVERY
def test_every_layers_weights_can_be_pruned(name: str) -> None:
    model = build(narrow(name), (3, 32, 32), 5, seed=0)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [id(p) for p in prunable_parameters(model).values()] == [id(layer.weight) for layer in layers]
    matrices = [key for key, p in model.named_parameters() if p.dim() == 2 or p.dim() == 4]
    assert matrices == list(Mask.ones(model))


@EVERY
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_weights_are_drawn_from_the_seed_alone(name: str, initialisation: str) -> None:
    spec = narrow(name, initialisation=initialisation)
    before = torch.get_rng_state()
    first = copy_of(build(spec, (3, 16, 16), 4, seed=5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)  # another state of the global generator gives the same weights
    assert same(first, copy_of(build(spec, (3, 16, 16), 4, seed=5)))
    assert not same(first, copy_of(build(spec, (3, 16, 16), 4, seed=6)))


@EVERY
def test_unknown_hyperparameters_are_named(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"The architecture '{name}' has no hyperparameter 'wydth'.* initialisation, weights\."
    ):
        build(narrow(name, wydth=8), (3, 32, 32), 10)


@EVERY
@pytest.mark.parametrize("width", [0, -8, 8.0, "8", True, None])
def test_a_width_that_is_no_whole_number_is_refused(name: str, width: object) -> None:
    with pytest.raises(UserError, match=f"{name} needs a whole width of at least 1, not {width!r}"):
        build(ModelSpec(name, {"width": width}), (3, 32, 32), 10)


@EVERY
@pytest.mark.parametrize("training", [True, False])
def test_fused_blocks_compute_the_same(name: str, training: bool) -> None:
    if block_library() is None:
        pytest.skip("there are no kernels on this machine")
    model = build(narrow(name), (3, 32, 32), 5, seed=1)
    batch = images(4, 3, 32, 32)
    model(batch)  # so that norms have other statistics than 0 and 1
    twin = fused(copy.deepcopy(model), torch.float32)
    if twin is None:
        assert name == "vit", "its norms are of tokens, but the convolutions of the others can be fused"
        return
    expected = model.train(training)(batch)
    actual = twin.train(training)(batch)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4 * float(expected.detach().abs().max()))
    for value, other in zip(twin.buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-5)
