from __future__ import annotations

import itertools
from collections import Counter

import pytest

from dp_core.models import SPACES, build, convnet720, nasbench201_space, resnet_family, stratified, vit_family
from dp_core.models.spaces import edge_operations

CIFAR = (3, 32, 32)


def test_the_720_convnets_are_all_combinations_of_the_papers_choices() -> None:
    specs = convnet720()
    found = {
        tuple(spec.hyperparameters[key] for key in ("depth", "width", "activation", "norm", "pooling"))
        for spec in specs
    }
    assert len(specs) == len(found) == 4 * 4 * 3 * 5 * 3 == 720
    assert len({spec.label() for spec in specs}) == 720
    assert found == set(
        itertools.product(
            (1, 2, 3, 4),
            (32, 64, 128, 256),
            ("sigmoid", "relu", "leaky_relu"),
            ("none", "batch", "layer", "instance", "group"),
            ("none", "max", "average"),
        )
    )


def test_nasbench201_has_the_benchmarks_15625_cells_and_names_no_more_than_they_need() -> None:
    specs = nasbench201_space()
    cells = {spec.hyperparameters["architecture"] for spec in specs}
    assert len(specs) == len(cells) == 5**6 == 15_625
    assert all(spec.hyperparameters.keys() == {"architecture"} for spec in specs)
    # Two of the benchmark's own strings: its best cell on CIFAR-10, and one of another form.
    assert "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|" in cells
    assert "|none~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|" in cells


@pytest.mark.parametrize(
    ("width", "cells", "said"),
    [(16, 5, {}), (8, 5, {"width": 8}), (16, 1, {"cells": 1}), (4, 2, {"width": 4, "cells": 2})],
)
def test_a_nasbench201_of_another_size_says_so(width: int, cells: int, said: dict[str, int]) -> None:
    hyperparameters = dict(nasbench201_space(width, cells)[7].hyperparameters)
    del hyperparameters["architecture"]
    assert hyperparameters == said


def test_the_operations_of_an_architecture_are_read_in_its_order() -> None:
    text = "|none~0| + |skip_connect~0|nor_conv_1x1~1| + |nor_conv_3x3~0|avg_pool_3x3~1|none~2| "
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "none")
    assert edge_operations(text) == operations
    cells = [spec.hyperparameters["architecture"] for spec in nasbench201_space()]
    assert Counter(len(edge_operations(cell)) for cell in cells) == {6: 15_625}
    assert len({edge_operations(cell) for cell in cells}) == 15_625


def test_the_families_have_the_sizes_they_say() -> None:
    widths = [(spec.name, spec.hyperparameters["width"]) for spec in resnet_family()]
    assert widths == [("resnet20", width) for width in (4, 8, 12, 16, 24, 32)] + [
        ("resnet18", width) for width in (8, 16, 32, 64)
    ]
    vits = [tuple(spec.hyperparameters[key] for key in ("depth", "width", "heads", "patch")) for spec in vit_family()]
    assert len(vits) == len(set(vits)) == 3 * 4 * 2 * 2
    assert set(vits) == set(itertools.product((2, 4, 6), (64, 128, 192, 256), (2, 4), (4, 8)))


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_listed_in_one_order_and_its_networks_can_be_built(name: str) -> None:
    specs = SPACES[name]()
    assert specs == SPACES[name]()
    for spec in stratified(specs, 10, seed=0):  # with every value of every hyperparameter
        build(spec, CIFAR, 10)
