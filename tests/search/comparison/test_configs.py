"""The comparisons that come with the project, and the numbers that their comments claim."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
import torch
import yaml

from dp_core.data import ImageDataset, Splits
from dp_core.models import ModelSpec, build
from dp_core.pruning import Mask, schedule_through
from search.comparison import preparation
from search.comparison.config import ComparisonConfig
from search.comparison.preparation import ComparisonPreparation, prepare_comparison
from search.config.loader import describe_keys, load_config, schema_of
from trainables.laboratory import Method

PROJECT = Path(__file__).parents[3]
CONFIGS = sorted((PROJECT / "configs" / "prune").glob("*.yaml"))
NAMES = [path.stem for path in CONFIGS]

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Prepare = Callable[[str], ComparisonPreparation]


def load(name: str) -> ComparisonConfig:
    return load_config(ComparisonConfig, PROJECT / "configs" / "prune" / f"{name}.yaml")


def noise(per_class: int, classes: int) -> ImageDataset:
    """Return CIFAR's size and shape of image, as many of each class as are said."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(per_class * classes) % classes
    images = torch.randint(0, 256, (len(labels), 3, 32, 32), generator=draw, dtype=torch.uint8)
    names = CIFAR10 if classes == len(CIFAR10) else tuple(f"class {label}" for label in range(classes))
    return ImageDataset(images, labels, names, "0" * 64)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Prepare:
    """Return a function that prepares a comparison, on images that stand for those that are not here."""

    def of(name: str) -> ComparisonPreparation:
        monkeypatch.chdir(PROJECT)
        config = load(name)
        if name == "mini":
            config = load_config(ComparisonConfig, Path("configs/prune/mini.yaml"), [f"data.cache={tmp_path}"])
        else:
            classes = 100 if "cifar100" in name else 10
            splits = Splits(noise(52, classes), noise(2, classes), noise(2, classes))
            monkeypatch.setattr(preparation, "sound_splits", lambda config, where: splits)
        return prepare_comparison(config, f"{name}.yaml", local=False)

    return of


def gradients_of_a_round(method: Method, images: int) -> int:
    """Return the image-gradients of a first round that trains on so many images."""
    assert method.recipe is not None
    return method.recipe.total_steps(images) * min(method.recipe.batch_size, images)


def rounds(sparsities: tuple[float, ...], fraction: float) -> list[int]:
    """Return the number of rounds up to each target."""
    schedule = schedule_through(sparsities, fraction)
    return [schedule.index(target) for target in sparsities]


@pytest.mark.parametrize("path", CONFIGS, ids=NAMES)
def test_a_config_is_valid_by_its_model_and_by_its_schema(path: Path) -> None:
    config = load(path.stem)
    assert path.stem.replace("_", "-") in (config.run.name, config.run.name.removeprefix("prune-"))
    jsonschema.validate(yaml.safe_load(path.read_text()), schema_of(ComparisonConfig))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_passes_every_check(prepared: Prepare, name: str) -> None:
    found = prepared(name)
    for methods in found.methods.values():
        assert methods["dense"].kind == "dense"
        sources = {method.source for method in methods.values()}
        assert "real" in sources
        assert "subset" in sources or any(method.sparse_training for method in methods.values())
        assert sources & {"distilled", *found.config.sets}


@pytest.mark.parametrize("name", NAMES)
def test_every_ticket_has_a_place_of_its_own(prepared: Prepare, name: str) -> None:
    found = prepared(name)
    cells = [job.cell.name for job in found.wanted.jobs() if job.kind == "train"]
    assert len(set(cells)) == len(cells)


def test_every_key_is_explained() -> None:
    rows = describe_keys(ComparisonConfig)
    assert [row.key for row in rows if not row.description.strip()] == []
    for key in ("run.name", "run.seeds", "data.root", "sparsities", "resources.concurrency"):
        assert key in {row.key for row in rows}


def claimed(name: str, pattern: str) -> list[int]:
    """Return the numbers of the part of a config's text that matches `pattern`'s group."""
    found = re.search(pattern, (PROJECT / "configs" / "prune" / f"{name}.yaml").read_text())
    assert found is not None
    return [int(number) for number in re.findall(r"\d+", found[1])]


def test_the_mini_study_has_the_rounds_that_it_claims() -> None:
    config = load("mini")
    expected = claimed("mini", r"sparsities: .*# (.*) rounds of 20 %")
    assert rounds(config.sparsities, config.prune_fraction) == expected == [4, 7, 10, 14]


def test_short_rounds_of_the_mini_study_cost_the_same(prepared: Prepare) -> None:
    found = prepared("mini")
    assert len(found.splits.train) == 4500
    images = {"imp_short": 4500, "distilled": 10 * 10, "subset": 10 * 10}
    for methods in found.methods.values():
        assert {gradients_of_a_round(methods[name], count) for name, count in images.items()} == {50 * 100}
        for name in ("imp_init", "imp_epoch1"):
            recipe = methods[name].recipe
            assert recipe is not None
            assert [recipe.total_steps(4500)] == claimed("mini", r"one of `imp_init` and `imp_epoch1` has (\d+) steps")
        assert methods["imp_epoch1"].rewind_step == 45  # 4,500 images in batches of 100


def test_the_frontier_has_the_rounds_that_it_claims_and_a_hundred_images_a_step(prepared: Prepare) -> None:
    found = prepared("frontier")
    reached = rounds(found.config.sparsities, found.config.prune_fraction)
    assert [reached[0], *(after - before for before, after in pairwise(reached))] == [5, 2, 2]
    images = {"real": 45_000, "ours": 10 * 10, "subset": 10 * 10}
    for method in found.methods["instance"].values():
        if method.recipe is not None and method.source is not None:
            assert method.recipe.images_per_step(images[method.source]) == 100
    families = [method.family for method in found.methods["instance"].values()]
    assert [families.count(name) for name in ("distilled", "subset", "real")] == [2, 2, 3]


@pytest.mark.parametrize(
    ("name", "network", "classes", "weights", "sparsities"),
    [
        ("paper_cifar10_alexnet", "alexnet", 10, 1_871_232, 31),
        ("paper_cifar100_convnet", "convnet", 100, 503_168, 21),
    ],
)
def test_the_paper_has_twenty_percent_a_round_of_its_networks(
    name: str, network: str, classes: int, weights: int, sparsities: int
) -> None:
    config = load(name)
    model = build(ModelSpec.from_dict(config.chosen_models[network]), (3, 32, 32), classes, seed=0)
    assert Mask.ones(model).total == weights
    # With the dense network, which has a method of its own.
    expected = [1 - 0.8**done for done in range(sparsities)]
    assert [0.0, *config.sparsities] == pytest.approx(expected, abs=5.1e-7)
    assert rounds(config.sparsities, config.prune_fraction) == list(range(1, sparsities))
    assert {*config.stability.barrier_at} <= {0.0, *config.sparsities}


@pytest.mark.parametrize(
    ("name", "short", "distilled", "images", "times"),
    [
        # In the paper real rounds cost 6, 10 and 4.8 times as many image-gradients.
        ("paper_cifar10_alexnet", "imp_short_50ipc", "distilled_50ipc", 500, 6),
        ("paper_cifar10_alexnet", "imp_short_10ipc", "distilled_10ipc", 100, 10),
        ("paper_cifar100_convnet", "imp_short", "distilled_10ipc", 1000, 4.8),
    ],
)
def test_the_control_that_the_paper_lacks_costs_what_distilled_pruning_does(
    prepared: Prepare, name: str, short: str, distilled: str, images: int, times: float
) -> None:
    methods = next(iter(prepared(name).methods.values()))
    real, cheap = gradients_of_a_round(methods[short], 49_000), gradients_of_a_round(methods[distilled], images)
    assert real == pytest.approx(cheap, rel=1e-3)
    assert gradients_of_a_round(methods[distilled.replace("distilled", "subset")], images) == cheap
    assert gradients_of_a_round(methods["imp_init"], 49_000) / cheap == pytest.approx(times, rel=0.03)
