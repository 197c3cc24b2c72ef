"""What every zero-cost proxy must do: the contract of Proxy, on every kind of network."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import product
from typing import Any

import pytest
import torch

from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.proxies import PROXIES, Proxy, Reading
from dp_core.proxies.zero_cost import ZeroCost
from tests.dp_core.proxies.scoring import inputs_of

NAMES = [name for name, proxy in PROXIES.items() if issubclass(proxy, ZeroCost)]
HERE = "tests.dp_core.proxies.scoring"
SMALL = {"images": 6, "repeats": 1}
SPEC = ModelSpec("convnet", {"depth": 2, "width": 4, "norm": "batch"})


def cell(*operations: str) -> ModelSpec:
    """Return a small NAS-Bench-201 network from the operations of the edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3."""
    text = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*operations)
    return ModelSpec("nasbench201", {"architecture": text, "width": 4, "cells": 1})


CONNECTED = [
    cell(*["nor_conv_3x3"] * 6),
    cell(*["skip_connect"] * 6),
    cell("avg_pool_3x3", "none", "nor_conv_1x1", "none", "none", "skip_connect"),
]
DISCONNECTED = [cell(*["none"] * 6), cell("nor_conv_3x3", "nor_conv_3x3", "none", "none", "none", "none")]
OTHERS = [
    ModelSpec("resnet20", {"width": 4}),
    ModelSpec("resnet18", {"width": 4}),
    ModelSpec("vgg11", {"width": 4}),
    ModelSpec("alexnet", {"width": 4}),
    ModelSpec("vit", {"depth": 2, "width": 8, "heads": 2}),
    ModelSpec(f"{HERE}:with_dropout"),
]


def small(name: str, **settings: Any) -> Proxy:
    known = {entry.name for entry in fields(PROXIES[name])}  # type: ignore[arg-type]
    return PROXIES[name](**{key: value for key, value in (SMALL | settings).items() if key in known})


def reading(name: str, spec: ModelSpec, seed: int = 0) -> Reading:
    (found,) = small(name).score(spec, inputs_of(), seed)
    return found


def test_all_are_there() -> None:
    expected = ["parameters", "flops", "synflow", "snip", "grasp", "grad_norm", "jacob_cov", "nwot", "zen", "zico"]
    assert expected == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
def test_every_convnet_has_a_finite_score(name: str, norm: str) -> None:
    proxy, inputs = small(name), inputs_of()
    proxy.check(inputs)
    for activation, pooling in product(["sigmoid", "relu", "leaky_relu"], ["none", "max", "average"]):
        choices = {"depth": 2, "width": 4, "norm": norm, "activation": activation, "pooling": pooling}
        (found,) = proxy.score(ModelSpec("convnet", choices), inputs, 0)
        assert math.isfinite(found.value), choices


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", [*OTHERS, *CONNECTED, *DISCONNECTED], ids=ModelSpec.label)
def test_a_score_is_one_finite_reading_with_its_cost(name: str, spec: ModelSpec) -> None:
    found = reading(name, spec)
    assert (found.key,) == small(name).keys
    assert type(found.value) is float
    assert math.isfinite(found.value)
    assert found.seconds > 0
    assert found.processor_seconds >= 0
    assert found.image_gradients >= 0
    assert found.forward_images >= 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", [SPEC, OTHERS[-1]], ids=["convnet", "dropout"])
def test_the_seed_and_nothing_else_decides(name: str, spec: ModelSpec) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = reading(name, spec)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert reading(name, spec).value == first.value
    assert (reading(name, spec, seed=1).value == first.value) == (name in ("parameters", "flops"))


@pytest.mark.parametrize("name", NAMES)
def test_the_inputs_stay_as_they_are_and_only_training_images_are_seen(name: str) -> None:
    inputs, untouched = inputs_of(), inputs_of()
    inputs.validation.images.fill_(255)
    small(name).score(SPEC, inputs, 0)
    assert torch.equal(inputs.train.images, untouched.train.images)
    assert torch.equal(inputs.train.labels, untouched.train.labels)
    assert small(name).score(SPEC, inputs, 0)[0].value == small(name).score(SPEC, untouched, 0)[0].value


@pytest.mark.parametrize("name", ["synflow", "snip", "grad_norm", "jacob_cov", "zen", "zico"])
def test_networks_that_do_not_see_the_image_come_last(name: str) -> None:
    worst = max(reading(name, spec).value for spec in DISCONNECTED)
    assert worst < min(reading(name, spec).value for spec in CONNECTED)


@pytest.mark.parametrize("name", ["synflow", "snip", "grad_norm", "zico", "grasp"])
def test_their_scores_are_the_lowest_there_are(name: str) -> None:
    lowest = math.log(2.0**-1022) if name == "synflow" else 0
    assert [reading(name, spec).value for spec in DISCONNECTED] == [lowest, lowest]


def test_nwot_counts_activations_before_the_cut_too() -> None:
    nothing, cut_behind_convolutions = (reading("nwot", spec).value for spec in DISCONNECTED)
    assert nothing == 0
    assert cut_behind_convolutions > 0


@pytest.mark.parametrize(
    ("name", "gradients", "forward"),
    [
        ("parameters", 0, 0),
        ("flops", 0, 1),
        ("synflow", 1, 0),
        ("snip", 64, 0),
        ("grasp", 128, 0),
        ("grad_norm", 64, 0),
        ("jacob_cov", 64, 0),
        ("nwot", 0, 128),
        ("zen", 0, 128),
        ("zico", 128, 0),
    ],
)
def test_costs_at_the_default_settings(name: str, gradients: int, forward: int) -> None:
    proxy = PROXIES[name]()
    inputs = inputs_of(per_class=43)
    proxy.check(inputs)
    (found,) = proxy.score(SPEC, inputs, 0)
    assert (found.image_gradients, found.forward_images) == (gradients, forward)
    # Image-gradients of synflow are of an image of ones, and those of grasp pass the same images twice.
    seen = sum(len(labels) for _, labels in inputs.given)
    assert seen == {"synflow": 0, "flops": 0, "grasp": 64, "zen": 0}.get(name, gradients + forward)


@pytest.mark.parametrize("name", ["snip", "grasp", "grad_norm", "jacob_cov", "zico", "zen"])
def test_what_leaves_floating_point_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"no finite score for '{HERE}:overflowing'"):
        reading(name, ModelSpec(f"{HERE}:overflowing"))


def test_synflow_does_not_leave_it() -> None:
    assert 200 < reading("synflow", ModelSpec(f"{HERE}:overflowing")).value < 300


@pytest.mark.parametrize("name", ["snip", "grasp", "grad_norm", "jacob_cov", "nwot", "zico"])
def test_a_batch_needs_images_of_every_class(name: str) -> None:
    proxy = small(name, images=31)
    with pytest.raises(
        UserError, match=r"batches of 31 training images, 11 of a class, but the class 'class 0' has 10"
    ):
        proxy.check(inputs_of(per_class=10))
    proxy.check(inputs_of(per_class=11))


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [(name, "images", value) for name in ("snip", "nwot", "zen", "zico") for value in (1, 2.0, True, "64")]
    + [("zico", "batches", 1), ("zen", "repeats", 0), ("zen", "mixup", 0), ("zen", "mixup", math.nan)]
    + [("grasp", "temperature", 0), ("grasp", "temperature", "hot"), ("grasp", "images", 0)],
)
def test_settings_that_make_no_sense_are_refused(name: str, setting: str, value: object) -> None:
    with pytest.raises(UserError, match=f"The proxy {PROXIES[name].__name__} needs its '{setting}' to be"):
        PROXIES[name](**{setting: value})
