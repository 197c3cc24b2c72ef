"""Learning rates are chosen on validation images, before any ticket is looked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.training import Training
from tests.trainables.driving import standardised, tiny_logits
from tests.trainables.laboratory.comparisons import (
    CPU,
    DENSE,
    RETRAINING,
    ROUND,
    find,
    laboratory,
    method,
    rotated,
    timeless,
    train,
    tune,
    untouchable,
)
from trainables.laboratory import FINAL, tuning
from trainables.laboratory.context import Laboratory

RATES = (1e-9, 0.02)
LONG = replace(ROUND, steps=20)


def tunable(folder: Path, rates: tuple[float, ...] = RATES, **changes: Any) -> Laboratory:
    recipe = replace(LONG, learning_rate=rates[0])
    return laboratory(folder, [method("imp", recipe=recipe, learning_rates=rates)], **changes)


def test_the_rate_that_is_best_on_the_validation_images_is_taken(tmp_path: Path) -> None:
    found = tune(tunable(tmp_path), "imp")
    accuracies = {tried["rate"]: tried["accuracy"] for tried in found["tried"]}
    assert list(accuracies) == list(RATES)
    assert accuracies[0.02] > 0.8 > accuracies[1e-9]
    assert found["learning_rate"] == 0.02


def test_validation_labels_decide_and_test_images_are_not_looked_at(tmp_path: Path) -> None:
    lab = tunable(tmp_path)
    against = tunable(tmp_path, validation=rotated(lab.validation), test=untouchable(lab.test))
    found = tune(against, "imp")
    assert found["learning_rate"] == 1e-9  # what learns most is wrong most often
    assert found["tried"][1]["accuracy"] < 0.2


def test_an_accuracy_is_that_of_a_dense_network_trained_for_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []

    def remembered(*arguments: Any, **settings: Any) -> Any:
        trained.append(Training(*arguments, **settings))
        return trained[-1]

    monkeypatch.setattr(tuning, "Training", remembered)
    lab = tunable(tmp_path)
    found = tune(lab, "imp")
    validation = lab.validation.open()
    for tried, training in zip(found["tried"], trained, strict=True):
        assert training.step == 20
        predicted = tiny_logits(training.model.state_dict(), standardised(validation.images)).argmax(1)
        assert tried["accuracy"] == int((predicted == validation.labels).sum()) / 12


def test_a_rate_that_diverges_counts_as_nothing(tmp_path: Path) -> None:
    found = tune(tunable(tmp_path, (1e30, 0.02)), "imp")
    assert found["tried"][0] == {"rate": 1e30, "accuracy": 0.0}
    assert found["learning_rate"] == 0.02


def test_of_equal_rates_the_first_is_taken(tmp_path: Path) -> None:
    found = tune(tunable(tmp_path, (1e-9, 1e-10, 1e-11)), "imp")
    assert len({tried["accuracy"] for tried in found["tried"]}) == 1
    assert found["learning_rate"] == 1e-9


def test_tuning_uses_weights_that_no_ticket_has(tmp_path: Path) -> None:
    lab = tunable(tmp_path)
    first = [lab.network("tiny", seed, CPU).state_dict()["classifier.weight"] for seed in (-1, 0, 1, 2)]
    assert all(not torch.equal(first[0], other) for other in first[1:])


def test_a_search_uses_the_rate_that_was_chosen(tmp_path: Path) -> None:
    lab = tunable(tmp_path)
    tune(lab, "imp")
    chosen = find(lab, "imp")
    assert chosen.result["learning_rate"] == 0.02
    fixed = find(tunable(tmp_path / "fixed", (0.02,)), "imp")
    assert all(torch.equal(chosen.tickets[0.8].mask[key], kept) for key, kept in fixed.tickets[0.8].mask.items())


def test_a_rate_is_chosen_once(tmp_path: Path) -> None:
    lab = tunable(tmp_path)
    found = tune(lab, "imp")
    assert tune(tunable(tmp_path, train=untouchable(lab.train)), "imp") == found


def final(folder: Path, rates: tuple[float, ...] = RATES, **changes: Any) -> Laboratory:
    """Return a comparison that has the learning rate of its final training to choose."""
    recipe = replace(RETRAINING, learning_rate=rates[0])
    return laboratory(folder, [DENSE, method("imp")], recipe=recipe, learning_rates=rates, **changes)


def test_the_final_trainings_rate_is_chosen_on_validation_images_too(tmp_path: Path) -> None:
    lab = final(tmp_path)
    found = tune(final(tmp_path, test=untouchable(lab.test)), FINAL)
    assert found["learning_rate"] == 0.02
    against = tune(final(tmp_path / "against", validation=rotated(lab.validation)), FINAL)
    assert against["learning_rate"] == 1e-9


def test_every_ticket_is_trained_at_the_rate_that_was_chosen(tmp_path: Path) -> None:
    lab = final(tmp_path)
    tune(lab, FINAL)
    fixed = final(tmp_path / "fixed", (0.02,))
    for name, sparsity in (("dense", 0.0), ("imp", 0.5)):
        find(lab, name)
        find(fixed, name)
        found = train(lab, name, sparsity)
        assert found["train_learning_rate"] == 0.02
        assert timeless(found) == timeless(train(fixed, name, sparsity))
