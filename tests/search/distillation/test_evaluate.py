from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dp_core.data import Splits, open_splits
from dp_core.distillation import DistilledSet, Herding, RandomImages
from dp_core.distillation.card import card_path
from dp_core.distillation.evaluation import CONTROLS, EvaluationPlan
from dp_core.distillation.pool import Pool
from dp_core.errors import UserError
from dp_core.models import build
from dp_core.quality.distilled_quality import QualityPlan, TicketTrial
from dp_core.training import Recipe
from search.config.model_spec import model_spec
from search.distillation import evaluate as module
from search.distillation.evaluate import evaluate
from search.runs.progress import Progress
from tests.search.comparison.tiny_comparison import ready_made
from tests.search.tiny import write_images

TINY = "convnet:depth=1,width=4,norm=none"
QUICK = QualityPlan(
    steps=(1, 2),
    trial=TicketTrial(sparsity=0.5, rounds=1, retraining=Recipe(steps=2, batch_size=16, learning_rate=0.01)),
    teacher_steps=2,
)
Evaluate = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("evaluation")
    write_images(found / "images")
    return found


@pytest.fixture(scope="module")
def splits(folder: Path) -> Splits:
    return open_splits("parquet", folder / "images", cache=folder / "cache", validation=0.1, seed=0)


@pytest.fixture
def path(splits: Splits, tmp_path: Path) -> Path:
    """Return a set that was made from the training split."""
    found = tmp_path / "mine.safetensors"
    RandomImages().distill(splits.train, 2, 7).save(found)
    return found


@pytest.fixture
def run(folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    quick = {**CONTROLS, "herding": Herding(model={"name": "convnet", "depth": 1, "width": 4}, steps=1)}
    monkeypatch.setattr(module, "CONTROLS", quick)

    def of(set_path: Path = path, **changed: Any) -> list[dict[str, Any]]:
        given: dict[str, Any] = {
            "data_format": "parquet",
            "data_root": folder / "images",
            "networks": 2,
            "steps": 3,
            "architectures": [TINY],
            "pool": False,
            "controls": False,
            "quality": False,
            "save": False,
            "seed": 0,
            "progress": Progress(quiet=True),
            "cache": folder / "cache",
            "quality_plan": QUICK,
        }
        return evaluate(set_path, **(given | changed))

    return of


def test_the_set_and_its_controls_have_a_row_for_every_architecture(run: Evaluate) -> None:
    rows = run(architectures=[TINY, "alexnet:width=2"], controls=True)
    labels = ["convnet depth=1 width=4 none", "alexnet width=2"]
    sets = ("mine", "random_images", "herding")
    assert [(row["architecture"], row["set"]) for row in rows] == [(label, name) for label in labels for name in sets]
    assert {row["measure"] for row in rows} == {"test_accuracy"}
    assert {(row["networks"], row["steps"]) for row in rows} == {(2, 3)}


def test_the_same_seed_gives_the_same_rows(run: Evaluate) -> None:
    assert run() == run()


def test_a_set_with_the_name_of_a_control_keeps_its_own_row(run: Evaluate, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "herding.safetensors"
    DistilledSet.load(path).save(other)
    rows = run(other, controls=True)
    assert [row["set"] for row in rows] == ["herding.safetensors", "random_images", "herding"]


def test_results_are_kept_in_the_card_only_if_wanted(run: Evaluate, path: Path, splits: Splits) -> None:
    before = card_path(path).read_bytes()
    run()
    assert card_path(path).read_bytes() == before
    rows = run(save=True)
    kept = DistilledSet.load(path).quality["test_accuracy"]
    assert [{"measure": "test_accuracy", **row} for row in kept["rows"]] == rows
    assert kept["settings"] == {"networks": 2, "steps": 3, "learning_rates": [1e-3, 3e-3, 1e-2], "seed": 0}
    assert kept["train_digest"] == splits.train.digest
    assert kept["test_digest"] == splits.test.digest
    assert kept["validation_unseen"] is True


def test_a_later_evaluation_adds_to_the_card(run: Evaluate, path: Path) -> None:
    run(save=True)
    rows = run(save=True, quality=True, seed=1)
    quality = DistilledSet.load(path).quality
    assert {row["measure"] for row in rows} == {*quality}
    assert set(quality) == {"test_accuracy", "few_steps", "mask_quality", "mask_agreement", "feature_distance"}
    assert quality["test_accuracy"]["settings"]["seed"] == 1  # the newer one is kept
    assert quality["few_steps"]["settings"]["model"] == {"name": "convnet", "depth": 1, "width": 4, "norm": "none"}
    assert json.loads(json.dumps(rows)) == rows


def test_the_pool_is_compared_with_random_images_alone(run: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = {"name": "convnet", "depth": 1, "width": 4, "norm": ["none", "batch"], "pooling": ["max", "none"]}
    monkeypatch.setattr(module, "_POOL", pool)
    monkeypatch.setattr(module, "_POOL_PLAN", EvaluationPlan(networks=1, steps=2, learning_rates=(0.01,)))
    alone, beside = (
        [row for row in run(pool=True, controls=controls) if row["measure"] == "pool"] for controls in (False, True)
    )
    assert alone == beside
    rows = alone
    assert [row["set"] for row in rows] == ["mine", "random_images"] * 4
    assert len({row["architecture"] for row in rows}) == 4


def test_the_pool_has_all_45_combinations() -> None:
    specs = Pool.of(module._POOL).specs()
    kinds = ("norm", "activation", "pooling")
    choices = {tuple(spec.hyperparameters[kind] for kind in kinds) for spec in specs}
    assert len(specs) == len(choices) == 5 * 3 * 3


def test_the_usual_architectures_can_be_built_for_cifar() -> None:
    specs = [model_spec(text) for text in (module.HEADLINE, *module.CROSS_ARCHITECTURE)]
    networks = [build(spec, (3, 32, 32), 10, seed=0) for spec in specs]
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert sizes[0] == 320_010  # ConvNet-3 of width 128 on CIFAR-10, as the literature has it
    assert max(sizes[1:]) < 600_000


SEEN = "it may have seen the validation images"


def test_a_set_of_another_share_has_not_seen_the_images_that_this_share_holds_back(
    folder: Path, run: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.safetensors"
    made_from = open_splits("parquet", folder / "images", cache=folder / "cache", validation=0.25, seed=0)
    RandomImages().distill(made_from.train, 2, 7).save(other)
    said = Progress()
    run(other, validation=0.25, save=True, progress=said)
    assert SEEN not in capsys.readouterr().err
    assert DistilledSet.load(other).quality["test_accuracy"]["validation_unseen"] is True
    run(other, progress=said)
    assert SEEN in capsys.readouterr().err


def test_a_set_of_another_split_is_told(run: Evaluate, path: Path, tmp_path: Path, capsys: Any) -> None:
    run(progress=Progress())
    assert SEEN not in capsys.readouterr().err
    other = tmp_path / "other.safetensors"
    made = DistilledSet.load(path)
    replace(made, provenance={**made.provenance, "source_digest": "0" * 64}).save(other)
    run(other, progress=Progress(), save=True)
    assert capsys.readouterr().err.count(SEEN) == 1
    assert DistilledSet.load(other).quality["test_accuracy"]["validation_unseen"] is False


def test_every_training_is_told_and_counted(run: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(Progress, "step", lambda self, phase, done, total, text: told.append((done, total)))
    run(controls=True)
    assert told == [(done, 15) for done in range(1, 16)]  # three sets, each three rates and two networks


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"set_path": Path("nowhere.safetensors")}, r"^There is no distilled set nowhere\.safetensors: name its"),
        ({"architectures": ["convnt"]}, r"no architecture 'convnt'\. Did you mean 'convnet'"),
        ({"architectures": ["convnet:widht=4"]}, r"no hyperparameter 'widht'\. Did you mean 'width'"),
        ({"architectures": ["convnet:depth=4"]}, "halves the image 4 times"),
        ({"networks": 0}, "at least 1 network"),
        ({"steps": 0}, "and 1 step"),
        ({"data_format": "parqet"}, "Did you mean 'parquet'"),
    ],
)
def test_mistakes_are_one_sentence_before_any_training(
    run: Evaluate, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(module, "evaluate_set", lambda *given, **named: pytest.fail("something was trained"))
    with pytest.raises(UserError, match=message) as error:
        run(**changed)
    assert "\n" not in str(error.value)


def test_a_damaged_set_is_refused(run: Evaluate, path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="does not match the digest in its card"):
        run()


def test_a_set_for_other_data_is_refused(run: Evaluate, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    ready_made(classes=("red", "green")).save(other)
    with pytest.raises(UserError, match=r"has 2 classes .*, the data 3"):
        run(other)
    ready_made(shape=(1, 8, 8)).save(other)
    with pytest.raises(UserError, match=r"images of shape \(1, 8, 8\), the data \(3, 8, 8\)"):
        run(other)
