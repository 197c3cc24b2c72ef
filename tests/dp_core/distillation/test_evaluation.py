from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import pytest

from dp_core.distillation import DistilledSet, Herding, RandomImages, evaluation
from dp_core.distillation.evaluation import CONTROLS, EvaluationPlan, evaluate_set, evaluation_controls, leads
from dp_core.distillation.judging import trained_accuracy
from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.seeds import derive_seed
from tests.dp_core.small import random_dataset, small_spec

TRAIN, VALIDATION, TEST = (random_dataset(per_class=n, seed=seed) for seed, n in enumerate((12, 6, 7)))
SET = RandomImages().distill(TRAIN, 2, 0)
PLAN = EvaluationPlan(networks=3, steps=8, learning_rates=(1e-9, 0.02), seed=4)


def evaluated(distilled: DistilledSet = SET, plan: EvaluationPlan = PLAN, **changed: Any) -> list[dict[str, Any]]:
    given = {"train": TRAIN, "validation": VALIDATION, "name": "set", "plan": plan, **changed}
    return evaluate_set(distilled, TEST, [small_spec()], **given)


def test_rows_have_mean_and_sample_deviation_of_different_networks() -> None:
    (row,) = evaluated()
    assert row["set"] == "set"
    assert row["architecture"] == small_spec().label()
    assert (row["networks"], row["steps"]) == (3, 8)
    assert len(row["accuracies"]) == 3
    assert len(set(row["accuracies"])) > 1
    assert row["accuracy_mean"] == pytest.approx(sum(row["accuracies"]) / 3)
    squares = sum((each - row["accuracy_mean"]) ** 2 for each in row["accuracies"])
    assert row["accuracy_std"] == pytest.approx((squares / 2) ** 0.5)
    assert row["accuracy_std"] == pytest.approx(statistics.stdev(row["accuracies"]))
    assert evaluated(plan=replace(PLAN, networks=1))[0]["accuracy_std"] is None


def test_more_networks_begin_with_the_same_ones() -> None:
    few, many = (evaluated(plan=replace(PLAN, networks=networks))[0]["accuracies"] for networks in (2, 4))
    assert many[:2] == few
    assert evaluated(plan=replace(PLAN, seed=5))[0]["accuracies"] != evaluated()[0]["accuracies"]


def test_a_rate_that_learns_nothing_is_not_chosen() -> None:
    for rates in ((1e-9, 0.02), (0.02, 1e-9)):
        (row,) = evaluated(plan=replace(PLAN, learning_rates=rates))
        assert row["learning_rate"] == 0.02
        assert row["optimizer"] == "adamw"


def test_validation_images_choose_and_test_images_are_seen_once_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, float, int]] = []
    # On validation the middle rate is best, on test it would be the last.
    worth = {"validation": {0.1: 0.5, 0.2: 0.7, 0.3: 0.6}, "test": {0.1: 0.1, 0.2: 0.2, 0.3: 0.9}}

    def accuracy(distilled: DistilledSet, images: Any, spec: ModelSpec, recipe: Any, seed: int, *, train: Any) -> float:
        assert train is TRAIN
        which = "validation" if images is VALIDATION else "test"
        seen.append((which, recipe.learning_rate, seed))
        return worth[which][recipe.learning_rate]

    monkeypatch.setattr(evaluation, "trained_accuracy", accuracy)
    (row,) = evaluated(plan=replace(PLAN, learning_rates=(0.1, 0.2, 0.3)))
    assert [each[:2] for each in seen] == [("validation", rate) for rate in (0.1, 0.2, 0.3)] + [("test", 0.2)] * 3
    assert len({seed for which, _, seed in seen if which == "validation"}) == 1  # the same network with every rate
    assert len({seed for *_, seed in seen}) == 4
    assert (row["learning_rate"], row["validation_accuracy"], row["accuracy_mean"]) == (0.2, 0.7, pytest.approx(0.2))


def test_a_learned_rate_is_one_of_the_candidates() -> None:
    learned = replace(SET, learning_rate=0.5)
    plan = replace(PLAN, learning_rates=(1e-9,), steps=30)
    recipes = plan.recipes(learned)
    assert [(recipe.optimizer, recipe.learning_rate) for recipe in recipes] == [("adamw", 1e-9), ("sgd", 0.5)]
    assert evaluated(learned, plan)[0]["optimizer"] == "sgd"


def test_where_there_is_no_choice_nothing_is_trained_for_it() -> None:
    heard: list[str] = []
    plan = replace(PLAN, learning_rates=(0.02,))
    (row,) = evaluated(plan=plan, tell=heard.append)
    assert row["validation_accuracy"] is None
    assert heard == [f"set, {small_spec().label()}, network {n} of 3" for n in (1, 2, 3)]
    assert len(heard) == plan.trainings(SET, 1)
    heard.clear()
    evaluated(tell=heard.append)
    assert len(heard) == PLAN.trainings(SET, 1) == 5


def test_accuracies_are_those_of_judging() -> None:
    plan = replace(PLAN, learning_rates=(0.02,), networks=1)
    (row,) = evaluated(plan=plan)
    seed = derive_seed(4, "evaluated network", 0)
    assert row["accuracies"] == [trained_accuracy(SET, TEST, small_spec(), plan.recipes(SET)[0], seed, train=TRAIN)]


def test_leads_are_differences_of_means_by_architecture() -> None:
    means = {("set", "a"): 0.5, ("random_images", "a"): 0.4, ("set", "b"): 0.3, ("random_images", "b"): 0.45}
    rows = [{"set": name, "architecture": of, "accuracy_mean": mean} for (name, of), mean in means.items()]
    assert leads(rows, "set") == {"a": pytest.approx(0.1), "b": pytest.approx(-0.15)}


def test_controls_have_the_sets_size() -> None:
    quick = {**CONTROLS, "herding": Herding(model=small_spec().to_dict(), steps=1)}
    found = evaluation_controls(TRAIN, 2, seed=0, distillers=quick)
    assert list(found) == list(CONTROLS) == ["random_images", "herding"]
    for name, each in found.items():
        assert each.provenance["distiller"]["method"] == name
        assert len(each.images) == 6


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="at least 1 network and 1 step, not 0 and 8"):
        replace(PLAN, networks=0)
    with pytest.raises(UserError, match="at least 1 network and 1 step, not 3 and 0"):
        replace(PLAN, steps=0)
    with pytest.raises(UserError, match=r"learning rates above 0, not \[\]"):
        replace(PLAN, learning_rates=())
    with pytest.raises(UserError, match="has 3 classes"):
        evaluate_set(SET, random_dataset(classes=2), [small_spec()], train=TRAIN, validation=VALIDATION, name="set")
