from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dp_core.data import ImageDataset
from dp_core.distillation import DistilledSet, RandomImages
from dp_core.distillation.judging import few_step_accuracy, judging_recipe, trained_accuracy
from dp_core.models import build
from dp_core.seeds import derive_seed
from dp_core.training import Recipe, Training, TrainingData
from tests.dp_core.small import random_dataset, small_spec

SPEC = small_spec()


def a_set(ipc: int = 4, rate: float | None = None) -> DistilledSet:
    return replace(RandomImages().distill(random_dataset(), ipc, 0), learning_rate=rate)


def held_back() -> ImageDataset:
    return random_dataset(per_class=20, seed=7)


def test_a_set_with_a_rate_of_its_own_is_trained_on_by_plain_sgd_at_this_rate() -> None:
    recipe = judging_recipe(a_set(rate=0.02), 30)
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum, recipe.weight_decay) == ("sgd", 0.02, 0, 0)
    assert (recipe.schedule, recipe.steps, recipe.augmentation) == ("constant", 30, "siamese")


@pytest.mark.parametrize(("rate", "given", "taken"), [(None, None, 3e-3), (None, 0.01, 0.01), (0.02, 0.01, 0.01)])
def test_any_other_is_trained_on_by_adamw(rate: float | None, given: float | None, taken: float) -> None:
    recipe = judging_recipe(a_set(rate=rate), 50, given)
    assert (recipe.optimizer, recipe.learning_rate, recipe.schedule) == ("adamw", taken, "one_cycle")
    assert (recipe.steps, recipe.augmentation) == (50, "siamese")


@pytest.mark.parametrize(("ipc", "batch"), [(1, 3), (4, 12), (85, 255), (86, 256)])
def test_a_step_sees_the_whole_set_up_to_256_images(ipc: int, batch: int) -> None:
    found = RandomImages().distill(random_dataset(per_class=90), ipc, 0)
    for rate in (None, 0.1):
        recipe = judging_recipe(replace(found, learning_rate=rate), 10)
        assert recipe.batch_size == batch


def test_the_accuracy_is_that_of_a_plain_loop_in_the_sets_own_space() -> None:
    found, real = a_set(), held_back()
    recipe = Recipe(optimizer="sgd", learning_rate=0.05, steps=4, batch_size=12, mode="eager")
    model = build(SPEC, (1, 6, 6), 3, seed=derive_seed(5, "judged network"))
    training = Training(model, TrainingData(*found.training_data()), recipe, seed=5, mask=None)
    training.run()
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm.momentum = 1.0  # the statistics of real training images, all of them in one batch
    with torch.no_grad():
        model.train()(found.preprocess(random_dataset().images.float() / 255))
        predicted = model.eval()(found.preprocess(real.images.float() / 255)).argmax(1)
    expected = (predicted == real.labels).float().mean().item()
    assert trained_accuracy(found, real, SPEC, recipe, 5, train=random_dataset()) == pytest.approx(expected)
    assert 0.4 < expected < 1  # the test can tell


def test_few_steps_on_images_that_tell_classes_apart_are_enough() -> None:
    real = held_back()
    good = few_step_accuracy(a_set(8), real, SPEC, 200, 0, train=random_dataset())
    # Images of each class under the label of the next teach the wrong thing.
    wrong = a_set(8)
    wrong = replace(wrong, images=wrong.images.roll(8, 0))
    assert good > 0.8
    assert few_step_accuracy(wrong, real, SPEC, 200, 0, train=random_dataset()) < 0.2


def test_seed_and_nothing_else_decides() -> None:
    real, found = held_back(), a_set(1)
    before = torch.get_rng_state()
    one = [few_step_accuracy(found, real, SPEC, 3, seed, train=random_dataset()) for seed in (0, 0, 1, 2, 3)]
    assert torch.equal(torch.get_rng_state(), before)
    assert one[0] == one[1]
    assert len(set(one)) > 1


def test_a_training_that_diverges_has_the_accuracy_of_chance() -> None:
    assert few_step_accuracy(a_set(rate=1e30), held_back(), small_spec("none"), 20, 0, train=random_dataset()) == 1 / 3
