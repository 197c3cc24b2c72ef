from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Standardisation
from dp_core.judging import CALIBRATION_IMAGES, calibration_images, divergence_of, judge
from dp_core.training import Evaluation, Recipe, Training, TrainingData, evaluate
from tests.dp_core.small import copy_of, random_dataset, same, small_model

SPACE = Standardisation((0.4,), (0.2,))
RECIPE = Recipe(optimizer="adamw", learning_rate=0.01, steps=3, batch_size=12, precision="float32", mode="eager")
TRAIN, HELD_BACK = random_dataset(per_class=30), random_dataset(per_class=20, seed=5)


def data_of(images: ImageDataset) -> TrainingData:
    return TrainingData(images.images, images.labels, SPACE)


def briefly_trained(norm: str) -> nn.Module:
    model = small_model(norm)
    Training(model, data_of(TRAIN), RECIPE, seed=1, mask=None).run()
    return model


def by_hand(model: nn.Module, calibration: TrainingData, scored: TrainingData) -> float:
    """Return the accuracy with the statistics of one batch of all calibration images, written out in plain PyTorch."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(calibration.batch(slice(None))[0])
        predicted = model.eval()(scored.batch(slice(None))[0]).argmax(1)
    return (predicted == scored.labels).double().mean().item()


def test_a_batch_norm_network_is_judged_with_the_statistics_of_real_training_images() -> None:
    scored, calibration = data_of(HELD_BACK), calibration_images(TRAIN, SPACE)
    model, same_model = briefly_trained("batch"), briefly_trained("batch")
    as_trained = evaluate(model, scored, precision="float32", mode="eager").accuracy
    weights = {name: value.clone() for name, value in model.named_parameters()}
    found = judge(model, scored, calibration, RECIPE)
    expected = by_hand(same_model, calibration, scored)
    assert found.accuracy == pytest.approx(expected)
    assert expected != as_trained  # the test can tell
    assert same(dict(model.named_parameters()), weights)


def test_the_network_keeps_the_statistics_it_was_judged_with_and_is_judged_the_same_again() -> None:
    scored, calibration = data_of(HELD_BACK), calibration_images(TRAIN, SPACE)
    model = briefly_trained("batch")
    found = judge(model, scored, calibration, RECIPE)
    kept = copy_of(model)
    assert evaluate(model, scored, precision="float32", mode="eager") == found
    assert judge(model, scored, calibration, RECIPE) == found
    assert same(copy_of(model), kept)


@pytest.mark.parametrize("norm", ["none", "instance", "layer"])
def test_a_network_without_running_statistics_is_evaluated_as_it_is(norm: str) -> None:
    scored, model = data_of(HELD_BACK), briefly_trained(norm)
    plain = evaluate(model, scored, precision="float32", mode="eager")
    assert judge(model, scored, calibration_images(TRAIN, SPACE), RECIPE) == plain


def test_judging_half_way_changes_nothing_of_the_weights_to_come() -> None:
    scored, calibration = data_of(HELD_BACK), calibration_images(TRAIN, SPACE)
    ends = []
    for judged in (False, True):
        training = Training(small_model("batch"), data_of(TRAIN), replace(RECIPE, steps=6), seed=1, mask=None)
        training.run(3)
        if judged:
            judge(training.model, scored, calibration, RECIPE)
        training.run()
        ends.append({name: value.clone() for name, value in training.model.named_parameters()})
    assert same(*ends)


def test_calibration_images_are_always_the_same_training_images_and_no_more_than_needed() -> None:
    many = random_dataset(per_class=400)
    first, again = calibration_images(many, SPACE), calibration_images(many, SPACE)
    assert len(first) == CALIBRATION_IMAGES < len(many)
    assert torch.equal(first.images, again.images)
    assert first.preprocessing is SPACE
    assert first.labels.bincount().min() > 100  # drawn from all classes, in whatever order the images are
    assert len(calibration_images(TRAIN, SPACE)) == len(TRAIN)


def test_a_network_that_only_held_back_images_show_to_have_diverged() -> None:
    model = small_model("none")
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    found = judge(model, data_of(HELD_BACK), calibration_images(TRAIN, SPACE), RECIPE)
    assert divergence_of(found) == "the loss on held-back images is nan"
    assert divergence_of(Evaluation(0.3, 1.5, 3)) is None
    assert divergence_of(Evaluation(0.3, float("inf"), 3)) == "the loss on held-back images is inf"
