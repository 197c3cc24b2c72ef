from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from dp_core.cost import CostModel
from dp_core.errors import UserError
from dp_core.models import build, nasbench201_space
from search.config.loader import load_config
from search.config.sections import Section
from search.proxies.architecture import Architecture
from search.proxies.pricing import architectures, known_names
from search.proxies.space import SpaceSection

SHAPE, CLASSES = (1, 8, 8), 3
CONVNETS = {"name": "convnet", "width": {"choice": [4, 8]}, "depth": [1, 2], "pooling": "max"}
SMALL_CELLS: dict[str, Any] = {"kind": "nasbench201", "hyperparameters": {"width": 2, "cells": 1}}


class Config(Section):
    space: SpaceSection


def without_its_classes(input_shape: tuple[int, int, int], classes: int, width: int = 2) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width))


def of(section: dict[str, Any], *rest: Any) -> list[Architecture]:
    return architectures(SpaceSection(**section), 0, SHAPE, CLASSES, *rest)


def test_a_users_product_is_ranked_with_what_each_network_costs() -> None:
    found = of({"models": CONVNETS})
    assert [(c.spec.hyperparameters["width"], c.spec.hyperparameters["depth"]) for c in found] == [
        (4, 1),
        (8, 1),
        (4, 2),
        (8, 2),
    ]
    # Width 8, depth 1, pooled once to 4 × 4: instance norm has two parameters a channel.
    one = found[1]
    assert one.parameters == (9 * 8 + 8) + 2 * 8 + (8 * 16 * 3 + 3)
    assert one.flops == 2 * (9 * 8 * 64 + 8 * 16 * 3)
    assert one.label == one.spec.label() == "convnet depth=1 max width=8"


def test_without_a_word_the_space_is_the_720_convnets() -> None:
    names = known_names(SpaceSection())
    assert len(names) == 720
    assert "convnet depth=4 width=256 group leaky_relu average" in names
    assert list(names) == list(known_names(SpaceSection(kind="convnet720")))


def test_cells_of_nasbench201_are_called_by_their_strings_and_cost_what_they_do_when_built() -> None:
    found = of({**SMALL_CELLS, "architectures": 30})
    strings = [spec.hyperparameters["architecture"] for spec in nasbench201_space()]
    places = [strings.index(architecture.label) for architecture in found]
    assert places == sorted(set(places))
    assert len(found) == 30
    for architecture in found:
        assert architecture.spec.hyperparameters == {"architecture": architecture.label, "width": 2, "cells": 1}
        model = build(architecture.spec, SHAPE, CLASSES)
        assert architecture.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert architecture.flops == CostModel(model, SHAPE)().flops_dense


def test_a_sample_is_balanced_and_follows_from_the_seed() -> None:
    section = SpaceSection(kind="convnet720", architectures=12, hyperparameters={"initialisation": "kaiming_normal"})
    one, again, other = (architectures(section, seed, (3, 16, 16), 10) for seed in (0, 0, 1))
    assert one == again != other
    assert Counter(architecture.spec.hyperparameters["depth"] for architecture in one) == {1: 3, 2: 3, 3: 3, 4: 3}
    assert {architecture.spec.hyperparameters["initialisation"] for architecture in one} == {"kaiming_normal"}


def test_a_table_restricts_the_space_before_the_sample_is_drawn() -> None:
    every = [
        architecture.label for architecture in of({"kind": "resnet", "hyperparameters": {"initialisation": "default"}})
    ]
    section = {"kind": "resnet", "hyperparameters": {"initialisation": "default"}}
    rows = (every[7], every[2], every[4])
    assert [architecture.label for architecture in of(section, rows)] == [every[2], every[4], every[7]]
    assert {architecture.label for architecture in of({**section, "architectures": 2}, rows)} < set(rows)
    with pytest.raises(UserError, match=r"^'space.architectures' is 4, but there are 3 architectures in the table\.$"):
        of({**section, "architectures": 4}, rows)


def test_architectures_of_too_many_flops_are_left_out_before_the_sample_is_drawn() -> None:
    costs = sorted((architecture.flops, architecture.label) for architecture in of({"kind": "resnet"}))
    limit = costs[3][0]
    left = of({"kind": "resnet", "max_flops": float(limit)})
    assert {architecture.label for architecture in left} == {label for _, label in costs[:4]}
    assert of({"kind": "resnet", "max_flops": float(limit), "architectures": 4}) == left
    with pytest.raises(UserError, match=rf"is 5, but there are 4 architectures of at most {limit:,} FLOPs\.$"):
        of({"kind": "resnet", "max_flops": float(limit), "architectures": 5})
    least = f"the cheapest, '{costs[0][1]}', has {costs[0][0]:,} FLOPs"
    with pytest.raises(UserError, match=rf"^'space.max_flops' is 0.5, which leaves no architecture: {least}\.$"):
        of({"kind": "resnet", "max_flops": 0.5})


def test_the_flops_of_all_15625_cells_are_known_from_a_few() -> None:
    before = torch.get_rng_state()
    found = of({**SMALL_CELLS, "max_flops": 1e9})
    assert torch.equal(torch.get_rng_state(), before)
    assert len(found) == 15_625
    # With all else equal a convolution 3×3 has nine times the FLOPs of one of 1×1, and pooling and skipping have none.
    flops = {architecture.label: architecture.flops for architecture in found}
    cell = "|{}~0|+|none~0|none~1|+|none~0|none~1|{}~2|"
    none = flops[cell.format("none", "none")]
    single = flops[cell.format("none", "nor_conv_1x1")] - none
    assert single == sum(2 * width**2 * side**2 for width, side in ((2, 8), (4, 4), (8, 2)))
    assert flops[cell.format("nor_conv_3x3", "nor_conv_1x1")] - none == 10 * single
    assert flops[cell.format("avg_pool_3x3", "skip_connect")] == none


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"models": [CONVNETS, CONVNETS]},
            r"'space.models' makes the architecture 'convnet depth=1 max width=4' more ",
        ),
        (
            {"kind": "resnet", "hyperparameters": {"width": 8}},
            r"'space.hyperparameters' makes .* 'resnet20 width=8' more",
        ),
        (
            {"models": {**CONVNETS, "depth": [1, 4]}},
            r"^'space': the architecture 'convnet depth=4 max width=4' cannot be ranked: .* halves the image 4 times",
        ),
        ({"models": {"name": "convnt"}}, r"'convnt' cannot be ranked: .* Did you mean 'convnet'\?"),
        (
            {"models": {"name": f"{__name__}:without_its_classes"}},
            r"cannot be ranked: .* returns \[2, 2\] for 2 images of 1×8×8, not \[2, 3\]\.$",
        ),
    ],
)
def test_a_space_that_cannot_be_ranked_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        of(section)


def test_a_users_own_function_is_ranked() -> None:
    found = of({"models": {"name": f"{__name__}:without_its_classes", "width": 3}})
    assert [(architecture.parameters, architecture.flops) for architecture in found] == [(64 * 3 + 3, 2 * 64 * 3)]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"kind": "resnets"},
            r"'space.kind' is not valid: must be one of .*, custom, not 'resnets' \(did you mean 'res",
        ),
        ({"kind": "custom"}, r"'space.models' is not valid: kind custom needs your networks here"),
        (
            {"kind": "vit", "models": CONVNETS},
            r"'space.models' is not valid: these belong to kind custom, not to vit\.$",
        ),
        ({"models": {"depth": 3}}, r"'space.models' is not valid: .* needs a 'name' and hyperparameters"),
        (
            {"models": {"name": "convnet", "depth": []}},
            r"'space.models' is not valid: The choice of 'depth' .* is empty",
        ),
        (
            {"models": {"name": "convnet", "depth": list(range(400)), "width": list(range(400))}},
            r"'space.models' is not valid: these are 160,000 architectures, and a space has at most 100,000\.$",
        ),
        ({"architectures": 1}, r"'space.architectures' must be an integer ≥ 2 or null, not 1"),
        ({"max_flops": 0}, r"'space.max_flops' must be a number > 0 or null, not 0"),
    ],
)
def test_a_section_that_contradicts_itself_is_refused_with_its_key(
    section: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "proxies.yaml"
    path.write_text(yaml.safe_dump({"space": section}))
    with pytest.raises(UserError, match=message):
        load_config(Config, path)


def test_a_section_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "proxies.yaml"
    path.write_text("space: {models: [{name: convnet, depth: [1, 2]}, {name: resnet20}], architectures: 3}")
    names = known_names(load_config(Config, path).space)
    assert list(names) == ["convnet depth=1", "convnet depth=2", "resnet20"]
