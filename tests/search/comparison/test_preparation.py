"""Everything that is checked before a comparison starts, and that nothing is left behind when a check fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from dp_core.errors import UserError
from search.comparison.preparation import ComparisonPreparation, prepare_comparison
from tests.search.comparison.tiny_comparison import TINY, comparison_config, ready_made, write_comparison
from tests.search.conftest import Outcome
from tests.search.tiny import CLASSES, write_images

Prepare = Callable[..., ComparisonPreparation]
REAL = {"source": "real", "steps": 2}
HALVED = {"kind": "at_initialisation", "criterion": "1:2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("preparation")
    write_images(found / "images")
    return found


@pytest.fixture
def prepared(folder: Path) -> Prepare:
    def of(local: bool = False, **changes: Any) -> ComparisonPreparation:
        return prepare_comparison(comparison_config(folder, **changes), "comparison.yaml", local=local)

    return of


def mistake(prepared: Prepare, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        prepared(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_config_is_read_to_its_end(prepared: Prepare) -> None:
    found = prepared(
        models={"tiny": TINY, "wide": {**TINY, "width": 8}},
        methods={
            "imp": REAL,
            "distilled": {"source": "distilled", "ipc": 2, "steps": [2, 3]},
            "large": {"source": "distilled", "ipc": 5, "steps": 2},
            "subset": {"source": "subset", "ipc": 7, "steps": 2},
        },
        scope={"exclude": ["classifier.*"]},
    )
    assert list(found.networks) == list(found.methods) == ["tiny", "wide"]
    assert list(found.methods["wide"]) == ["imp", "distilled-2", "distilled-3", "large", "subset"]
    assert found.images_per_class == (2, 5)  # of distilled sets; a subset is drawn anew for each seed
    assert [len(part) for part in (found.splits.train, found.splits.validation, found.splits.test)] == [48, 12, 15]
    assert found.recipe.epochs == 1
    assert "classifier.weight" not in found.scope
    assert found.published == ()


def test_learning_rates_of_the_final_training_are_one_or_several(prepared: Prepare) -> None:
    def jobs(rate: Any) -> tuple[tuple[float, ...], float, int]:
        found = prepared(retrain={"learning_rate": rate, "recipe": {"learning_rate": None}})
        plan = found.plan(Path("nowhere"))
        return found.learning_rates, found.recipe.learning_rate, [job.kind for job in plan.jobs].count("tune")

    assert jobs(0.3) == ((0.3,), 0.3, 0)
    assert jobs([0.3, 0.1]) == ((0.3, 0.1), 0.3, 1)
    assert prepared().learning_rates == (0.02,)


def test_a_network_or_set_that_is_null_is_left_out(prepared: Prepare) -> None:
    found = prepared(models={"tiny": TINY, "other": None}, sets={"mtt": None})
    assert (list(found.networks), found.sets) == (["tiny"], {})


def test_each_network_has_methods_in_its_own_terms(prepared: Prepare) -> None:
    found = prepared(
        models={"tiny": TINY, "wide": {**TINY, "width": 8}},
        methods={"x": {"kind": "at_initialisation", "criterion": "1:3"}},
    )
    # Two of three weights of the convolution: 72 of 108 + 192, 144 of 216 + 384.
    assert found.methods["tiny"]["x"].sparsities == pytest.approx((72 / 300,))
    assert found.methods["wide"]["x"].sparsities == pytest.approx((144 / 600,))
    deep = prepared(models={"two": {**TINY, "depth": 2}}, methods={"x": HALVED})
    # 108 as they are, half of 4 × 4 × 9 and half of 16 × 3.
    assert deep.methods["two"]["x"].sparsities == pytest.approx(((72 + 24) / (108 + 144 + 48),))


def test_a_ready_made_set_is_a_source(prepared: Prepare, tmp_path: Path) -> None:
    ready_made(learning_rate=0.25).save(tmp_path / "mtt.safetensors")
    found = prepared(
        sets={"mtt": str(tmp_path / "mtt.safetensors")},
        methods={"x": {"source": "mtt", "steps": 2, "learning_rate": "learned"}},
    )
    assert found.methods["tiny"]["x"].learning_rates == (0.25,)
    assert found.sets["mtt"].digest == ready_made(learning_rate=0.25).digest


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (ready_made(shape=(3, 16, 16)), "has images of shape (3, 16, 16), the data (3, 8, 8)."),
        (ready_made(shape=(1, 8, 8)), "has images of shape (1, 8, 8), the data (3, 8, 8)."),
        (ready_made(classes=("red", "green")), "has 2 classes (red, green, …), the data 3 (red, green, blue, …)."),
        (ready_made(classes=("green", "red", "blue")), "has 3 classes (green, red, blue, …), the data 3 (red,"),
    ],
)
def test_a_ready_made_set_of_other_data_is_refused(prepared: Prepare, tmp_path: Path, made: Any, sentence: str) -> None:
    made.save(tmp_path / "mtt.safetensors")
    told = mistake(prepared, sets={"mtt": str(tmp_path / "mtt.safetensors")})
    assert told.startswith("comparison.yaml: 'sets.mtt': The distilled set ")
    assert sentence in told


def test_a_ready_made_set_that_is_not_there_is_named(prepared: Prepare, tmp_path: Path) -> None:
    told = mistake(prepared, sets={"mtt": str(tmp_path / "mtt.safetensors")})
    assert told.startswith("comparison.yaml: 'sets.mtt'")
    assert "There is no distilled set " in told


def test_a_ready_made_set_that_was_edited_is_named(prepared: Prepare, tmp_path: Path) -> None:
    path = tmp_path / "mtt.safetensors"
    ready_made().save(path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    told = mistake(prepared, sets={"mtt": str(path)})
    assert told.startswith("comparison.yaml: 'sets.mtt'")
    assert "mtt.safetensors" in told


@pytest.mark.parametrize("name", ["real", "subset", "distilled", "distilled-10"])
def test_a_ready_made_set_may_not_take_the_name_of_a_source(prepared: Prepare, name: str) -> None:
    assert "this name is taken" in mistake(prepared, sets={name: "mtt.safetensors"})


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            {"name": "tests.search.comparison.tiny_comparison:failing"},
            "The model 'tests.search.comparison.tiny_comparison:failing' fails on images of 3×8×8: ",
        ),
        ({"name": "convnt"}, "no architecture 'convnt'. Did you mean 'convnet'?"),
        ({**TINY, "widht": 4}, "no hyperparameter 'widht'. Did you mean 'width'?"),
        ({**TINY, "depth": 4}, "halves the image 4 times"),
        ({"name": "tests.nowhere:model"}, "'tests.nowhere:model' cannot be imported"),
        ({"depth": 1}, "name"),
    ],
)
def test_a_network_that_does_not_work_is_named(prepared: Prepare, model: dict[str, Any], sentence: str) -> None:
    told = mistake(prepared, models={"tiny": TINY, "other": model})
    assert told.startswith("comparison.yaml: 'models.other': ")
    assert sentence in told


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"stability": {"barrier_at": [0.0, 0.6]}},
            "'stability.barrier_at': no method has a ticket of sparsity 0.6, only of 0, 0.5, 0.8.",
        ),
        (
            {"stability": {"eigenvalue_at": [0.0]}, "methods": {"imp": REAL}},
            "'stability.eigenvalue_at': no method has a ticket of sparsity 0.0, only of 0.5, 0.8.",
        ),
        (
            {"methods": {"x": {"source": "subset", "ipc": 17, "steps": 2}}},
            "'methods.x.ipc': The class 'red' has 16 images, fewer than the 17 asked for.",
        ),
        (
            {"methods": {"x": {"source": "distilled", "ipc": 17, "steps": 2}}},
            "'methods.x.ipc': The class 'red' has 16 images, fewer than the 17 asked for.",
        ),
        ({"methods": {"x": {"source": "distiled", "steps": 2}}}, "'methods.x': there is no source 'distiled'."),
        ({"scope": {"include": ["conv*"]}}, "the pattern 'conv*', which matches no weight of the model."),
        ({"retrain": {"recipe": {"bach_size": 1}}}, "'retrain.recipe.bach_size'. Did you mean 'batch_size'?"),
        ({"distill": {"settings": {"iterations": 1}}}, "no key 'distill.settings.iterations'"),
        (
            {"retrain": {"learning_rate": [0.1, 0.2]}},
            "'learning_rate' stands in 'retrain' or in 'retrain.recipe', not in both.",
        ),
        (
            {"retrain": {"learning_rate": [], "recipe": {"learning_rate": None}}},
            "'retrain.learning_rate' is an empty list.",
        ),
        (
            {"retrain": {"learning_rate": [0.1, 0.2, 0.1], "recipe": {"learning_rate": None}}},
            "'retrain.learning_rate' has 0.1 more than once.",
        ),
        (
            {"retrain": {"learning_rate": [0.1, 0.0], "recipe": {"learning_rate": None}}},
            "'retrain': A recipe needs a learning_rate above 0, not 0.0.",
        ),
        ({"data": {"root": "nowhere"}}, "nowhere"),
        ({"data": {"validation": 0.01}}, "without a validation image"),
    ],
)
def test_what_cannot_work_is_found_before_anything_starts(
    prepared: Prepare, changes: dict[str, Any], sentence: str
) -> None:
    told = mistake(prepared, **changes)
    assert told.startswith("comparison.yaml: ")
    assert sentence in told


def test_stability_is_measured_at_the_targets_that_agree_to_six_digits(prepared: Prepare) -> None:
    given = {
        "models": {"six": {**TINY, "depth": 2, "width": 6}},
        "methods": {"dense": {"kind": "dense"}, "imp": REAL, "pattern": HALVED},
    }
    exact = (162 + 36) / (162 + 324 + 72)  # half of 6 × 6 × 9 and of 24 × 3; 3 channels cannot be halved
    told = mistake(prepared, **given, stability={"barrier_at": [0.6]})
    assert told.endswith("only of 0, 0.354839, 0.5, 0.8.")
    found = prepared(**given, stability={"barrier_at": [0.354839, 0.0], "eigenvalue_at": [0.5000000001]})
    assert (found.barrier_at, found.eigenvalue_at) == ((exact, 0.0), (0.5,))


def test_published_curves_that_are_not_there_are_named(prepared: Prepare, tmp_path: Path) -> None:
    assert "curves.csv cannot be read" in mistake(prepared, published=str(tmp_path / "curves.csv"))


def test_only_a_study_on_this_machine_must_fit_it(prepared: Prepare) -> None:
    assert prepared(resources={"concurrency": 4096}).config.resources.concurrency == 4096
    assert "4096 CPU threads" in mistake(prepared, local=True, resources={"concurrency": 4096})


def test_a_study_too_large_for_the_machine_is_told_its_own_keys(prepared: Prepare) -> None:
    assert "resources.concurrency" in mistake(prepared, local=True, resources={"concurrency": 4096})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": {"x": {"source": "distiled", "steps": 2}}}, "Did you mean 'distilled'?"),
        ({"sets": {"mtt": "mtt.safetensors"}}, "'sets.mtt'"),
        ({"models": {"tiny": {"name": "tests.search.comparison.tiny_comparison:failing"}}}, "fails on images"),
        ({"stability": {"barrier_at": [0.6]}}, "'stability.barrier_at'"),
        ({"metods": {}}, "unknown key 'metods'. Did you mean 'methods'?"),
        ({"methods": {"x": {"sorce": "real"}}}, "unknown key 'methods.x.sorce'. Did you mean 'source'?"),
        ({"methods": {"x": {"kind": "iterativ"}}}, "'methods.x.kind'"),
        ({"methods": {"a/b": REAL}}, "must be letters"),
        ({"sparsities": []}, "'sparsities'"),
        ({"methods": {"dense": None, "imp": None}}, "'methods' is not valid: every entry is null, so that nothing is"),
        ({"models": {"tiny": None}}, "'models' is not valid: every entry is null, so that nothing is left."),
        ({"run": {"seeds": 0}}, "'run.seeds'"),
    ],
)
def test_a_refused_study_leaves_nothing_behind(
    winnow: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    sentence: str,
) -> None:
    def never(*arguments: object, **settings: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", never)
    monkeypatch.chdir(tmp_path)
    outcome = winnow("prune", write_comparison(tmp_path, **changes))
    assert (outcome.status, outcome.out) == (2, "")
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("winnow: ")
    assert sentence in outcome.err
    # Decoded images are found again, whatever becomes of the command.
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"images", "comparison.yaml"}


def test_classes_are_named_in_the_order_of_the_labels(prepared: Prepare) -> None:
    assert prepared().splits.train.class_names == CLASSES
