from __future__ import annotations

import collections
from typing import Any

import pytest
import torch
from torch import nn

from dp_core.distillation.pool import Pool
from dp_core.errors import UserError
from tests.dp_core.small import CLASSES, SHAPE, copy_of, same

SPACE = {"name": "convnet", "depth": [1, 2], "width": 4, "norm": ["batch", "instance", "none"]}
SIX = {(depth, norm) for depth in (1, 2) for norm in ("batch", "instance", "none")}


def no_linear_layer(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, classes, 6), nn.Flatten())


def kinds(pool: Pool) -> list[tuple[Any, Any]]:
    return [(spec.hyperparameters["depth"], spec.hyperparameters["norm"]) for spec in pool.specs()]


def test_a_pool_holds_every_combination_of_its_choices() -> None:
    pool = Pool.of(SPACE)
    assert pool.size == 6
    assert sorted(kinds(pool)) == sorted(SIX)
    assert {spec.hyperparameters["width"] for spec in pool.specs()} == {4}


@pytest.mark.parametrize(
    "written",
    [
        {**SPACE, "depth": (1, 2)},
        {**SPACE, "depth": {"choice": [1, 2]}, "norm": {"choice": ["batch", "instance", "none"]}},
        [SPACE],
        dict(reversed(SPACE.items())),  # as from a file whose keys were sorted
    ],
)
def test_there_are_several_ways_to_write_one_pool(written: Any) -> None:
    assert Pool.of(written) == Pool.of(SPACE)
    assert [Pool.of(written).draw(seed) for seed in range(30)] == [Pool.of(SPACE).draw(seed) for seed in range(30)]


def test_a_single_network_is_a_pool_of_one() -> None:
    pool = Pool.of({"name": "convnet", "depth": 1})
    assert pool.size == 1
    assert pool.specs() == [pool.draw(3, "anything")]
    assert pool.draw(0).to_dict() == {"name": "convnet", "depth": 1}


def test_a_pool_of_families_holds_all_of_theirs() -> None:
    pool = Pool.of([SPACE, {"name": "alexnet"}, {"name": "vgg11", "width": [8, 16]}])
    assert pool.size == 6 + 1 + 2
    assert [spec.name for spec in pool.specs()] == ["convnet"] * 6 + ["alexnet"] + ["vgg11"] * 2


def test_the_size_of_a_large_pool_is_known_without_going_through_it() -> None:
    digits = list(range(10))
    pool = Pool.of({"name": "convnet", **{f"setting {index}": digits for index in range(12)}})
    assert pool.size == 10**12


def test_a_draw_is_a_function_of_seed_and_purpose() -> None:
    pool = Pool.of(SPACE)
    before = torch.get_rng_state()
    torch.rand(1)
    one = [pool.draw(seed, "judge", index) for seed in range(5) for index in range(5)]
    torch.set_rng_state(before)
    assert one == [pool.draw(seed, "judge", index) for seed in range(5) for index in range(5)]
    assert torch.equal(torch.get_rng_state(), before)
    assert len({spec.label() for spec in one}) == 6
    assert one != [pool.draw(seed, "expert", index) for seed in range(5) for index in range(5)]


def test_every_choice_is_drawn_about_equally_often() -> None:
    pool = Pool.of([SPACE, {"name": "alexnet"}])
    drawn = collections.Counter(
        (spec.name, spec.hyperparameters.get("depth"), spec.hyperparameters.get("norm"))
        for spec in (pool.draw(0, number) for number in range(3000))
    )
    # Families are equally likely: 1,500 ± 27 AlexNets, each of the ConvNets 250 ± 15.1. Four deviations are allowed.
    assert abs(drawn.pop(("alexnet", None, None)) - 1500) < 110
    assert set(drawn) == {("convnet", *kind) for kind in SIX}
    assert all(abs(count - 250) < 61 for count in drawn.values())


def test_networks_are_built_with_weights_of_their_own() -> None:
    pool = Pool.of({"name": "convnet", "depth": 1, "width": 4})
    before = torch.get_rng_state()
    one, again, other, seeded = (
        copy_of(pool.build(SHAPE, CLASSES, seed, *purpose)) for seed, *purpose in ((0, 1), (0, 1), (0, 2), (1, 1))
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert same(one, again)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
    assert not torch.equal(one["classifier.weight"], seeded["classifier.weight"])


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("convnet", r"^Architectures are a network \(name and hyperparameters\) or a list of them, not convnet\.$"),
        ([], r"or a list of them, not \[\]\.$"),
        ({"depth": 3}, r"needs a 'name' and hyperparameters: \{'depth': 3\} has none\.$"),
        ([SPACE, "vgg11"], r"needs a 'name' and hyperparameters: vgg11 has none\.$"),
        ({"name": ["convnet", "vgg11"]}, r"has one name, not \['convnet', 'vgg11'\]: several networks are a list"),
        ({"name": 3}, r"needs a 'name'"),
        ({"name": "convnet", "depth": []}, r"^The choice of 'depth' among the architectures is empty\.$"),
        ({"name": "convnet", "depth": {"choice": []}}, r"^The choice of 'depth' among the architectures is empty\.$"),
    ],
)
def test_what_is_no_pool_is_refused(written: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Pool.of(written)


def test_every_network_of_a_pool_is_tried() -> None:
    Pool.of(SPACE).check(SHAPE, CLASSES)
    with pytest.raises(UserError, match="halves the image 3 times"):
        Pool.of({**SPACE, "depth": [1, 2, 3]}).check(SHAPE, CLASSES)
    with pytest.raises(UserError, match=r"no architecture 'convnt'\. Did you mean 'convnet'"):
        Pool.of([SPACE, {"name": "convnt"}]).check(SHAPE, CLASSES)
    with pytest.raises(UserError, match=f"The network {__name__}:no_linear_layer has no linear layer"):
        Pool.of([SPACE, {"name": f"{__name__}:no_linear_layer"}]).check(SHAPE, CLASSES)


def test_of_a_large_pool_some_are_tried() -> None:
    widths = {"width": list(range(1, 301)), "norm": ["batch", "instance", "none"]}
    Pool.of({"name": "convnet", "depth": 1, **widths}).check(SHAPE, CLASSES)
    with pytest.raises(UserError, match="halves the image 3 times"):
        Pool.of({"name": "convnet", "depth": [1, 3], **widths}).check(SHAPE, CLASSES)
