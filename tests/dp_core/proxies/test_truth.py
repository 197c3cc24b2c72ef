"""What proxies are judged by: trainings on real data, and which of them there are."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.proxies import ProxyInputs, RealTraining, TruthPlan
from dp_core.proxies.true_accuracy import true_accuracy
from dp_core.seeds import derive_seed
from dp_core.training import Recipe
from tests.dp_core.proxies.trained import CPU, calibrated, held_back, losses_of, measured, plain_sgd, trained_inputs
from tests.dp_core.small import random_dataset, small_spec

DIGESTS = {"train": "a", "validation": "b", "test": "c"}
RECIPE = Recipe(learning_rate=0.05, momentum=0.0, weight_decay=0.0, schedule="constant", steps=6, batch_size=100)
TRAINING = RealTraining(small_spec(), RECIPE, 1, tested=True)
KEY = TRAINING.key(DIGESTS)

# Another value for every field of a recipe, with what it needs beside it.
OTHER: dict[str, dict[str, Any]] = {
    "optimizer": {"optimizer": "adam"},
    "learning_rate": {"learning_rate": 0.06},
    "momentum": {"momentum": 0.5},
    "weight_decay": {"weight_decay": 0.1},
    "schedule": {"schedule": "cosine"},
    "milestones": {"schedule": "multi_step", "milestones": (0.5,)},
    "decay": {"schedule": "multi_step", "milestones": (0.5,), "decay": 0.2},
    "steps": {"steps": 7},
    "epochs": {"steps": None, "epochs": 2.0},
    "batch_size": {"batch_size": 3},
    "augmentation": {"augmentation": "flip_crop"},
    "label_smoothing": {"label_smoothing": 0.1},
    "precision": {"precision": "float32"},
    "mode": {"mode": "eager"},
    "loss": {"loss": "tests.dp_core.training.own_parts:focal"},
}


@dataclass(frozen=True, eq=False)
class Watched(ProxyInputs):
    """Remembers the seeds of networks."""

    seen: list[int] = field(default_factory=list)

    def network(self, spec: ModelSpec, seed: int) -> nn.Module:
        self.seen.append(seed)
        return super().network(spec, seed)


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in bfloat16, as some machines would."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)


def test_the_key_changes_with_the_recipe() -> None:
    assert {*OTHER} == {entry.name for entry in fields(Recipe)}
    keys = [replace(TRAINING, recipe=replace(RECIPE, **other)).key(DIGESTS) for other in OTHER.values()]
    assert len({KEY, *keys}) == len(OTHER) + 1


def test_the_key_changes_with_architecture_seed_data_and_purpose() -> None:
    keys = [
        replace(TRAINING, spec=small_spec("none")).key(DIGESTS),
        replace(TRAINING, spec=ModelSpec("convnet", {"depth": 1, "width": 5, "norm": "batch"})).key(DIGESTS),
        replace(TRAINING, spec=replace(small_spec(), name="alexnet")).key(DIGESTS),
        replace(TRAINING, seed=2).key(DIGESTS),
        replace(TRAINING, tested=False).key(DIGESTS),
        *(TRAINING.key(DIGESTS | {split: "d"}) for split in DIGESTS),
        TRAINING.key({"train": "b", "validation": "a", "test": "c"}),
    ]
    assert len({KEY, *keys}) == len(keys) + 1


def test_the_key_changes_with_the_source_of_a_loss_and_with_weights_to_start_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    keys = []
    for source in ("def loss(a, b): return a", "def loss(a, b): return 2 * a"):
        (tmp_path / "loss_of_mine.py").write_text(source)
        own = replace(RECIPE, loss="loss_of_mine:loss", label_smoothing=0.0)
        keys.append(replace(TRAINING, recipe=own).key(DIGESTS))
    for contents in (b"one", b"other"):
        (tmp_path / "start.safetensors").write_bytes(contents)
        given = {**small_spec().hyperparameters, "weights": "start.safetensors"}
        keys.append(replace(TRAINING, spec=ModelSpec("convnet", given)).key(DIGESTS))
    assert len({KEY, *keys}) == 5


def test_the_key_changes_with_nothing_else() -> None:
    hyperparameters = dict(reversed([*small_spec().hyperparameters.items()]))
    again = RealTraining(ModelSpec("convnet", hyperparameters), Recipe(**RECIPE.to_dict()), 1, tested=True)
    assert again.key(dict(reversed(DIGESTS.items()))) == KEY
    untested = replace(TRAINING, tested=False)
    assert (
        untested.key(DIGESTS)
        == untested.key(DIGESTS | {"test": "d"})
        == untested.key({"train": "a", "validation": "b"})
    )
    assert len(bytes.fromhex(KEY)) == 32


@pytest.mark.parametrize("tested", [True, False])
@pytest.mark.usefixtures("in_float32")
def test_a_training_is_that_of_plain_pytorch(tested: bool) -> None:
    inputs, test = trained_inputs(), random_dataset(50, seed=9)
    test = replace(test, labels=(test.labels + 1) % 3)  # mostly wrong, which the validation images are not
    found = true_accuracy(replace(TRAINING, tested=tested), inputs, test)
    model, space = inputs.network(small_spec(), derive_seed(1, "truth")), inputs.preprocessing
    losses_of(model, (space(inputs.train.images.float() / 255), inputs.train.labels), 6, plain_sgd(0.05))
    calibrated(model, inputs, space)
    assert found["status"] == "finished"
    assert found["validation_accuracy"] == measured(model, *held_back(inputs, space))[0]
    assert 1 / 3 < found["validation_accuracy"] < 1  # or the test could not tell
    expected = measured(model, space(test.images.float() / 255), test.labels)[0]
    assert found["test_accuracy"] == (expected if tested else None)
    assert found["image_gradients"] == 6 * 24
    assert found["seconds"] > 0 <= found["processor_seconds"]


def test_test_images_have_no_say() -> None:
    results = [
        true_accuracy(replace(TRAINING, tested=tested), trained_inputs(), test)["validation_accuracy"]
        for tested, test in ((False, None), (False, random_dataset(3)), (True, random_dataset(5, seed=7)))
    ]
    assert len(set(results)) == 1
    with pytest.raises(ValueError, match="needs test images"):
        true_accuracy(TRAINING, trained_inputs(), None)


def test_initial_weights_are_none_that_a_proxy_saw_and_others_for_each_seed() -> None:
    inputs = Watched(random_dataset(8, seed=1), random_dataset(60, seed=2), device=CPU)
    for seed in (0, 1):
        true_accuracy(replace(TRAINING, seed=seed, tested=False), inputs, None)
    assert len({0, 1, *inputs.seen}) == 4


# At 1e30 the second step's loss is not finite; at 1e38 the one step itself leaves nothing finite.
@pytest.mark.parametrize(("rate", "steps"), [(1e30, 6), (1e38, 1)])
@pytest.mark.parametrize("tested", [True, False])
def test_a_training_that_diverges_has_the_accuracy_of_chance(tested: bool, rate: float, steps: int) -> None:
    recipe = replace(RECIPE, optimizer="adamw", learning_rate=rate, steps=steps)
    training = RealTraining(small_spec("none"), recipe, 1, tested)
    found = true_accuracy(training, trained_inputs(), random_dataset(5))
    assert found["status"] == "diverged"
    assert found["validation_accuracy"] == pytest.approx(1 / 3)
    assert found["test_accuracy"] == (pytest.approx(1 / 3) if tested else None)


PLAN = TruthPlan(replace(RECIPE, steps=None, epochs=10.0), (0.02, 0.01, 0.04), tuning=0.25, seeds=3)


def test_tunings_are_shorter_and_untested_one_for_each_rate() -> None:
    tunings = PLAN.tunings(small_spec(), 1000)  # 10 epochs of 10 steps
    assert [tuning.recipe.learning_rate for tuning in tunings] == [0.02, 0.01, 0.04]
    for tuning in tunings:
        assert replace(tuning.recipe, learning_rate=0.05) == replace(RECIPE, steps=25)
        assert (tuning.spec, tuning.seed, tuning.tested) == (small_spec(), 0, False)
    assert PLAN.tunings(small_spec(), 10)[0].recipe.steps == 2  # a quarter of 10 full batches, to even
    assert replace(PLAN, tuning=0.001).tunings(small_spec(), 1000)[0].recipe.steps == 1


def test_finals_have_the_whole_length_the_chosen_rate_and_seeds_of_their_own() -> None:
    finals = PLAN.finals(small_spec(), 0.04)
    assert [(final.seed, final.tested) for final in finals] == [(1, True), (2, True), (3, True)]
    assert {final.recipe for final in finals} == {replace(PLAN.recipe, learning_rate=0.04)}
    seeds = {tuning.seed for tuning in PLAN.tunings(small_spec(), 1000)}
    assert not seeds & {final.seed for final in finals}


def test_one_rate_needs_no_tuning() -> None:
    plan = replace(PLAN, learning_rates=(0.3,))
    assert plan.tunings(small_spec(), 1000) == []
    assert plan.chosen([]) == 0.3


@pytest.mark.parametrize(
    ("accuracies", "rate"),
    [
        ((0.4, 0.5, 0.6), 0.04),
        ((0.6, 0.5, 0.4), 0.02),
        ((0.6, 0.6, 0.4), 0.01),
        ((0.6, 0.5, 0.6), 0.02),
        ((0.1, 0.1, 0.1), 0.01),
    ],
)
def test_the_best_rate_is_chosen_the_lowest_of_equals(accuracies: tuple[float, ...], rate: float) -> None:
    assert PLAN.chosen([{"validation_accuracy": accuracy, "status": "finished"} for accuracy in accuracies]) == rate


@given(st.lists(st.tuples(st.floats(1e-5, 1), st.sampled_from([0.1, 0.2, 0.3])), min_size=2, unique_by=lambda p: p[0]))
def test_no_rate_beats_the_chosen_one(pairs: list[tuple[float, float]]) -> None:
    plan = replace(PLAN, learning_rates=tuple(rate for rate, _ in pairs))
    chosen = plan.chosen([{"validation_accuracy": accuracy, "status": "finished"} for _, accuracy in pairs])
    best = max(accuracy for _, accuracy in pairs)
    assert chosen == min(rate for rate, accuracy in pairs if accuracy == best)


def test_a_choice_needs_all_tunings() -> None:
    for found in ([], [{"validation_accuracy": 0.5, "status": "finished"}]):
        with pytest.raises(ValueError, match="shorter"):
            PLAN.chosen(found)


@pytest.mark.parametrize(
    "wrong", [{"learning_rates": ()}, {"learning_rates": (0.1, 0.0)}, {"tuning": 0.0}, {"tuning": 1.1}, {"seeds": 0}]
)
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="The truth needs"):
        replace(PLAN, **wrong)


def test_a_training_of_a_users_network_is_another_one_when_its_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "changing.py").write_text("def small(input_shape, classes):\n    return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    training = RealTraining(ModelSpec("changing:small", {}), Recipe(steps=1), 0, tested=False)
    digests = {"train": "a", "validation": "b", "test": "c"}
    before = training.key(digests)
    assert training.key(digests) == before
    (tmp_path / "changing.py").write_text("def small(input_shape, classes):\n    return 1\n")
    assert training.key(digests) != before
