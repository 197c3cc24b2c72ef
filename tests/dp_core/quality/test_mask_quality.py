from __future__ import annotations

from dataclasses import replace

import pytest

from dp_core.distillation import RandomImages
from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError
from dp_core.models import build
from dp_core.pruning import Mask
from dp_core.quality.mask_quality import TicketTrial, mask_quality
from dp_core.seeds import derive_seed
from dp_core.training import Recipe, Training, TrainingData, evaluate
from tests.dp_core.small import CLASSES, SHAPE, random_dataset, small_spec

TRAIN, VALIDATION = random_dataset(per_class=12), random_dataset(per_class=6, seed=1)
SET = RandomImages().distill(TRAIN, 2, 0)
CONTROLS = {"random_images": RandomImages().distill(TRAIN, 2, 1)}
RETRAINING = Recipe(optimizer="adamw", learning_rate=0.01, steps=30, batch_size=12, mode="eager")
TRIAL = TicketTrial(steps=(1, 3), sparsity=0.75, rounds=2, retraining=RETRAINING)
QUICKER = replace(TRIAL, steps=(1,), rounds=1)


def test_every_source_finds_its_mask_at_the_same_cost() -> None:
    heard: list[str] = []
    rows = mask_quality(SET, TRAIN, VALIDATION, small_spec(), TRIAL, controls=CONTROLS, seeds=(0, 1), tell=heard.append)
    sources = ("distilled", "random_images", "real")
    searched = [(seed, steps, source) for seed in (0, 1) for steps in (1, 3) for source in sources]
    alone = [(seed, None, source) for seed in (0, 1) for source in ("random_mask", "dense")]
    assert [(row["seed"], row["steps"], row["source"]) for row in rows] == searched + alone
    # Two rounds of 1 or 3 steps of the set's 6 images; the last mask needs no training under it.
    costs = {(row["steps"], row["image_gradients"]) for row in rows}
    assert costs == {(1, 2 * 1 * 6), (3, 2 * 3 * 6), (None, 0)}
    assert {row["sparsity"] for row in rows if row["source"] != "dense"} == {0.75}
    assert {row["sparsity"] for row in rows if row["source"] == "dense"} == {0.0}
    assert len(heard) == len(rows)


def test_results_are_a_function_of_the_seed() -> None:
    one, other = (
        mask_quality(SET, TRAIN, VALIDATION, small_spec(), QUICKER, controls={}, seeds=(3,)) for _ in range(2)
    )
    assert one == other


def test_the_dense_network_is_retrained_from_the_initial_weights_of_the_tickets() -> None:
    rows = mask_quality(SET, TRAIN, VALIDATION, small_spec(), QUICKER, controls={}, seeds=(3,))
    space, seed = standardisation_of(TRAIN), derive_seed(3, "retraining")
    model = build(small_spec(), SHAPE, CLASSES, seed=derive_seed(3, "initial weights"))
    data = TrainingData(TRAIN.images, TRAIN.labels, space)
    Training(model, data, RETRAINING, seed=seed, mask=Mask.ones(model)).run()
    expected = evaluate(model, TrainingData(VALIDATION.images, VALIDATION.labels, space)).accuracy
    (dense,) = (row for row in rows if row["source"] == "dense")
    assert dense["accuracy"] == expected > 0.6


def test_what_diverges_is_worth_chance() -> None:
    absurd = replace(SET, images=SET.images.sign() * 3e38)
    rows = mask_quality(
        absurd, TRAIN, VALIDATION, small_spec("none"), replace(TRIAL, steps=(5,)), controls={}, seeds=(0,)
    )
    accuracies = {row["source"]: row["accuracy"] for row in rows}
    assert accuracies["distilled"] == pytest.approx(1 / 3)
    assert accuracies["real"] > 0.34


def test_a_learned_rate_changes_nothing() -> None:
    one, other = (
        mask_quality(replace(SET, learning_rate=rate), TRAIN, VALIDATION, small_spec(), QUICKER, controls={})
        for rate in (None, 10.0)
    )
    assert one == other


def test_impossible_tickets_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(UserError, match="too few for one in each of 2 layers"):
        mask_quality(SET, TRAIN, VALIDATION, small_spec(), replace(TRIAL, sparsity=0.999), controls={})
    other = random_dataset(classes=2)
    with pytest.raises(UserError, match="classes"):
        mask_quality(SET, other, other, small_spec(), TRIAL, controls={})
