"""Learning rates are chosen on validation images, before any ticket is looked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.training import Training
from tests.trainables.laboratory.comparisons import (
    CPU,
    DENSE,
    RETRAINING,
    ROUND,
    TARGETS,
    find,
    laboratory,
    method,
    rotated,
    timeless,
    train,
    tune,
    untouchable,
)
from trainables.laboratory import FINAL, Cell, training, tuning
from trainables.laboratory.context import Laboratory
from trainables.laboratory.finding import find_tickets
from trainables.laboratory.training import train_ticket

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


def test_an_accuracy_is_the_mean_over_tickets_found_and_trained_with_the_rate(tmp_path: Path) -> None:
    """The same search and trainings, in a comparison that has this rate only and whose seed 0 is the tuning's."""
    found = tune(tunable(tmp_path / "tuned"), "imp")
    for tried in found["tried"]:
        lab = tunable(tmp_path / str(tried["rate"]), (tried["rate"],))
        tickets = find(lab, "imp", seed=-1).tickets  # the networks of the small rate are at chance: there is one ticket
        accuracies = [
            train(lab, "imp", target, seed=-1)["validation_accuracy"] if target in tickets else 0.0
            for target in TARGETS
        ]
        assert tried["accuracies"] == accuracies
        assert tried["accuracy"] == sum(accuracies) / 3


def test_a_round_may_have_a_rate_that_is_bad_for_a_dense_network(tmp_path: Path) -> None:
    """What decides is the ticket: rates that keep the mask and differ in the dense network's accuracy are equal."""
    dense_accuracies = {}
    for rate in (1e-9, 0.02):
        lab = tunable(tmp_path / str(rate), (rate,))
        dense_accuracies[rate] = find(lab, "imp", seed=-1).result["rounds"][0]["validation_accuracy"]
    assert dense_accuracies[1e-9] < 0.5 < dense_accuracies[0.02]
    accuracies = {tried["rate"]: tried["accuracy"] for tried in tune(tunable(tmp_path / "tuned"), "imp")["tried"]}
    assert accuracies[1e-9] > 0.2  # of three tickets the one that there is


def test_the_tickets_of_a_tuning_are_gone_when_it_is_done_and_no_others_are_there(tmp_path: Path) -> None:
    lab = tunable(tmp_path)
    tune(lab, "imp")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["imp.json"]


def test_rates_that_are_nearly_equal_have_tickets_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six digits both are 0.02; in one folder the second would have the tickets of the first."""
    lab = tunable(tmp_path, (0.02, 0.02 + 1e-9))
    folders: list[Path] = []

    def remembered(own: Laboratory, cell: Cell, device: torch.device) -> None:
        folders.append(own.folder)
        find_tickets(own, cell, device)

    monkeypatch.setattr(tuning, "find_tickets", remembered)
    tune(lab, "imp")
    assert len(set(folders)) == 2


def test_what_an_interrupted_tuning_has_found_is_not_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tune(tunable(tmp_path / "whole"), "imp")
    lab, trained = tunable(tmp_path / "stopped"), list[str]()

    def stopping(lab: Laboratory, cell: Cell, device: torch.device) -> None:
        if len(trained) == 3:  # of one ticket of the first rate, and three of the second
            raise KeyboardInterrupt
        trained.append(cell.name)
        train_ticket(lab, cell, device)

    monkeypatch.setattr(tuning, "train_ticket", stopping)
    with pytest.raises(KeyboardInterrupt):
        tune(lab, "imp")
    monkeypatch.undo()
    again = list[Any]()

    def remembered(*arguments: Any, **settings: Any) -> Any:
        again.append(Training(*arguments, **settings))
        return again[-1]

    monkeypatch.setattr(training, "Training", remembered)
    assert tune(lab, "imp") == whole
    assert len(again) == 1


def test_a_method_that_starts_from_another_is_tuned_on_tickets_of_that_ones_rate(tmp_path: Path) -> None:
    child = {"parent": "imp", "start_sparsity": 0.5, "sparsities": (0.8,), "learning_rates": RATES}
    child["recipe"] = replace(LONG, learning_rate=RATES[0])
    parent = method("imp", recipe=replace(LONG, learning_rate=RATES[0]), learning_rates=RATES)
    lab = laboratory(tmp_path, [parent, method("child", **child)])
    chosen = tune(lab, "imp")["learning_rate"]
    found = tune(lab, "child")
    alone = [
        method("imp", recipe=replace(LONG, learning_rate=chosen), learning_rates=(chosen,)),
        method("child", **{**child, "recipe": replace(LONG, learning_rate=0.02), "learning_rates": (0.02,)}),
    ]
    by_hand = laboratory(tmp_path / "by hand", alone)
    find(by_hand, "imp", seed=-1)
    find(by_hand, "child", seed=-1)
    assert found["tried"][1]["accuracies"] == [train(by_hand, "child", 0.8, seed=-1)["validation_accuracy"]]


def test_a_rate_that_diverges_counts_as_nothing(tmp_path: Path) -> None:
    found = tune(tunable(tmp_path, (1e30, 0.02)), "imp")
    assert found["tried"][0] == {"rate": 1e30, "accuracy": 0.0, "accuracies": [0.0, 0.0, 0.0]}
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
