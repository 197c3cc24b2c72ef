"""Shipped comparisons compare distilled images with real ones at equal steps of equally many images."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.distillation import DistilledSet
from dp_core.models import ModelSpec, build
from dp_core.pruning import Mask
from search.comparison.config import ComparisonConfig
from search.comparison.methods import Setting, methods_of
from search.config.loader import load_config

CONFIGS = Path(__file__).parents[3] / "configs" / "prune"
# Of each comparison: classes, and which control on other images is for which method on a set.
PAIRS = {
    "mini": (10, {"imp_short": "distilled"}),
    "frontier": (10, {"subset": "distilled"}),
    "paper_cifar10_alexnet": (10, {"imp_short_50ipc": "distilled_50ipc", "imp_short_10ipc": "distilled_10ipc"}),
    "paper_cifar100_convnet": (100, {"imp_short": "distilled_10ipc"}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_control_on_real_images_takes_the_steps_of_the_set(name: str) -> None:
    classes, pairs = PAIRS[name]
    config = load_config(ComparisonConfig, CONFIGS / f"{name}.yaml")
    dense = Mask.ones(build(ModelSpec("convnet", {"depth": 3, "width": 32}), (3, 32, 32), classes, seed=0))
    sets = {name: DistilledSet.load(path) for name, path in config.sets.items() if path}
    methods = methods_of(Setting(config, dense, 45_000, classes, sets, config.retrain.parsed_recipe()))

    def cost(family: str) -> set[tuple[int, int]]:
        found = [method for method in methods.values() if method.family == family]
        assert found
        rounds = set()
        for method in found:
            assert method.recipe is not None
            per_class = sets[method.source].images_per_class if method.source in sets else method.images_per_class
            images = 45_000 if per_class is None else classes * per_class
            rounds.add((method.recipe.total_steps(images), method.recipe.images_per_step(images)))
        return rounds

    for control, of in pairs.items():
        assert cost(control) == cost(of)
