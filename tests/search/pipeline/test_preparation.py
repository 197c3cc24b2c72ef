"""Everything that is checked before a run starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dp_core.errors import UserError
from dp_core.training import Recipe
from search.pipeline.preparation import Preparation, prepare
from search.pipeline.retraining import _context as retraining_context
from search.pipeline.retraining_plan import RetrainingPlan
from search.pipeline.run import wanted_sets
from search.pipeline.screening import screening_context
from search.runs.directory import RunDirectory
from search.runs.images import digests
from tests.search.comparison.tiny_comparison import ready_made
from tests.search.tiny import CLASSES, TEST, TRAIN, config_of, write_images

Prepare = Callable[..., Preparation]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    folder = tmp_path_factory.mktemp("preparation")
    write_images(folder / "images")
    return lambda local=False, **changes: prepare(config_of(folder, **changes), "tiny.yaml", local=local)


def mistake(prepared: Prepare, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        prepared(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_config_is_read_to_its_end(prepared: Prepare) -> None:
    found = prepared(
        space={"ipc": {"choice": [2, 5], "when": None}, "source": "subset"},
        retrain={"epochs": 3, "recipe": {"batch_size": 16, "learning_rate": 0.5}},
    )
    assert (found.images_per_class, found.sources) == ((2, 5), ("subset",))
    assert found.retraining == Recipe(epochs=3.0, batch_size=16, learning_rate=0.5)
    assert {parameter.name for parameter in found.space.parameters} >= {"model.depth", "sparsity", "ipc"}


def test_the_three_splits_are_disjoint_parts_of_the_data(prepared: Prepare) -> None:
    splits = prepared().splits
    held_back = round(0.2 * TRAIN) * len(CLASSES)
    assert (len(splits.train), len(splits.validation)) == (TRAIN * len(CLASSES) - held_back, held_back)
    assert len(splits.test) == TEST * len(CLASSES)
    images = [{image.numpy().tobytes() for image in part.images} for part in (splits.train, splits.validation)]
    assert not images[0] & images[1]
    assert len(set(digests(splits).values())) == 3
    assert digests(splits) == digests(prepared().splits)
    assert digests(splits) != digests(prepared(run={"seed": 1}).splits)


def test_a_space_without_a_source_is_one_of_distilled_data(prepared: Prepare) -> None:
    assert prepared(space={"source": None, "ipc": {"choice": [2], "when": None}}).sources == ("distilled",)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ipc": {"choice": None, "int": [1, 5]}}, "'space.ipc' must be a choice or a constant"),
        ({"ipc": {"choice": [2, 17]}}, "'space.ipc' asks for 17 images a class, but the smallest class has 16."),
        ({"sparsity": {"float": [0.5, 0.999]}}, "'space.sparsity' is impossible for convnet depth=1"),
        ({"sparsity": {"float": [0.5, 1.0]}}, "'space.sparsity' must be a number from 0 to below 1, not 1.0."),
        ({"sparsity": None, "sparsty": 0.5}, "Did you mean 'sparsity'?"),
        ({"model": {"depht": {"choice": [1, 2]}}}, "no hyperparameter 'depht'. Did you mean 'depth'?"),
        ({"model": {"depth": {"choice": [1, 4]}}}, "halves the image 4 times"),
        ({"model": {"name": {"choice": ["convnet", "convnt"]}}}, "no architecture 'convnt'. Did you mean 'convnet'?"),
        ({"model": {"name": "tests.nowhere:model"}}, "'tests.nowhere:model' cannot be imported"),
        ({"recipe": {"optimiser": "sgd"}}, "Did you mean 'optimizer'?"),
        ({"recipe": {"learning_rate": {"float": [0.0, 0.1]}}}, "learning_rate above 0, not 0.0"),
        ({"source": {"choice": ["distilled", "syntetic"]}}, "'space.source' cannot be 'syntetic'."),
    ],
)
def test_what_cannot_work_is_found_before_anything_starts(
    prepared: Prepare, changes: dict[str, Any], sentence: str
) -> None:
    found = mistake(prepared, space=changes)
    assert sentence in found
    assert found.startswith("tiny.yaml: ")


def test_a_sparsity_that_leaves_a_weight_for_every_layer_is_possible(prepared: Prepare) -> None:
    # 300 weights in two layers: 0.993 leaves round(2.1) = 2 of them, 0.9951 one.
    prepared(space={"model": {"pooling": "average"}, "sparsity": {"float": [0.5, 0.993]}})
    sentence = mistake(prepared, space={"model": {"pooling": "average"}, "sparsity": {"float": [0.5, 0.9951]}})
    assert "leaves 1 of 300 weights, too few for one in each of 2 layers" in sentence


def test_a_network_of_the_users_that_fails_on_the_images_is_named(prepared: Prepare) -> None:
    model = {"name": "torch.nn:Linear", "depth": None, "width": None, "norm": None, "pooling": None}
    sentence = mistake(prepared, space={"model": model, "recipe": {"momentum": {"choice": [0.1, 0.2]}}})
    assert sentence.startswith("tiny.yaml: 'space.model'")


def test_ipc_is_no_limit_where_no_set_is_made(prepared: Prepare) -> None:
    assert prepared(space={"source": "real", "ipc": {"choice": [500], "when": None}}).sources == ("real",)


@pytest.mark.parametrize("stream", [None, "always"])
def test_trials_are_told_when_to_stream(prepared: Prepare, stream: str | None) -> None:
    found = prepared(data={"stream": stream})
    assert screening_context(found, {}).stream == (stream or "auto")
    assert retraining_context(
        RunDirectory(Path("unused")), found, RetrainingPlan.of(found.config.retrain), []
    ).stream == (stream or "auto")


@pytest.mark.parametrize("replicates", [None, 3])
def test_trials_are_told_how_many_replicates_to_run(prepared: Prepare, replicates: int | None) -> None:
    found = prepared(screen={"replicates": replicates})
    assert screening_context(found, {}).replicates == (replicates or 1)


def test_only_a_search_on_this_machine_must_fit_it(prepared: Prepare) -> None:
    changes: dict[str, Any] = {"resources": {"concurrency": 4096}}
    assert prepared(**changes).config.resources.concurrency == 4096
    sentence = mistake(prepared, local=True, **changes)
    assert "4096 CPU threads" in sentence
    assert "resources.concurrency" in sentence


DM = "distribution_matching"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"distill": {"settings": {"iteratons": 3}}}, "'distill.settings.iteratons'"),
        ({"distill": {"method": DM, "settings": {"iteratons": 3}}}, "Did you mean 'iterations'?"),
        ({"distill": {"method": DM, "settings": {"iterations": "3"}}}, "'distill.settings.iterations'"),
        ({"distill": {"method": DM, "settings": {"iterations": 0}}}, "'distill.settings': "),
        ({"retrain": {"recipe": {"learnin_rate": 0.1}}}, "'retrain.recipe.learnin_rate'. Did you mean"),
        ({"retrain": {"recipe": {"epochs": 3}}}, "The length of a retraining is 'retrain.epochs'"),
    ],
)
def test_settings_of_distiller_and_retraining_are_checked(
    prepared: Prepare, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in mistake(prepared, **changes)


def test_the_distillers_network_is_checked_too(prepared: Prepare) -> None:
    settings = {"iterations": 1, "architectures": {"name": "convnt"}}
    assert "'convnt'" in mistake(prepared, distill={"method": DM, "settings": settings})


def test_a_ready_made_set_takes_the_place_of_the_one_of_its_size(prepared: Prepare, tmp_path: Path) -> None:
    ready_made().save(tmp_path / "mtt.safetensors")  # two images a class
    space = {"source": {"choice": ["distilled", "subset"]}, "ipc": {"choice": [1, 2], "when": None}}
    found = prepared(space=space, sets={"mine": str(tmp_path / "mtt.safetensors"), "out": None})
    assert {ipc: one.digest for ipc, one in found.ready.items()} == {2: ready_made().digest}
    assert set(wanted_sets(found)) == {"distilled-1", "subset-1", "subset-2"}


@pytest.mark.parametrize(
    ("ipc", "made", "sets", "sentence"),
    [
        (2, {}, ["mtt", "mtt"], "two sets have 2 images a class"),
        (2, {}, ["nothing"], "There is no distilled set"),
        (2, {"shape": (1, 8, 8)}, ["mtt"], "has images of shape (1, 8, 8), the data (3, 8, 8)"),
        (2, {"classes": ("a", "b", "c")}, ["mtt"], "The distilled set has 3 classes (a, b, c, …)"),
        (3, {}, ["mtt"], "it has 2 images a class, which no distilled candidate of 'space.ipc' asks for"),
    ],
)
def test_a_ready_made_set_that_cannot_be_used_is_named(
    prepared: Prepare, tmp_path: Path, ipc: int, made: dict[str, Any], sets: list[str], sentence: str
) -> None:
    ready_made(**made).save(tmp_path / "mtt.safetensors")
    paths = {f"s{index}": str(tmp_path / f"{name}.safetensors") for index, name in enumerate(sets)}
    found = mistake(prepared, space={"ipc": {"choice": [ipc]}}, sets=paths)
    assert sentence in found
    assert f"'sets.s{len(sets) - 1}'" in found


def test_a_rewind_step_beyond_the_round_is_checked(prepared: Prepare) -> None:
    assert "rewind" in mistake(prepared, screen={"rewind_step": 4}, space={"recipe": {"steps": 4}}).lower()
