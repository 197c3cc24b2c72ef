"""A user's own loss, optimiser, schedule and augmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dp_core.errors import UserError
from dp_core.pruning import GlobalMagnitude, GradualPruning, Mask, UpdateWindow
from dp_core.training import Population, Recipe, Training, rehearsed
from tests.dp_core.small import CLASSES, SHAPE, random_data, same, small_model, small_spec, through_a_file
from tests.dp_core.training import own_parts
from tests.dp_core.training.test_graph import Replaying

OWN = "tests.dp_core.training.own_parts"
RECIPE = Recipe(steps=6, batch_size=5, learning_rate=0.05, mode="eager", precision="float32", weight_decay=0.01)
ALL = replace(
    RECIPE,
    loss=f"{OWN}:focal",
    optimizer=f"{OWN}:heavy_ball",
    schedule=f"{OWN}:triangle",
    augmentation=f"{OWN}:negative",
)


def training(recipe: Recipe, **settings: Any) -> Training:
    return Training(small_model(), random_data(), recipe, seed=2, **{"mask": None, **settings})


def test_each_is_called_and_does_what_it_says() -> None:
    run = training(ALL)
    # The same by hand: signs drawn by the step's generator, a rate that is a triangle, focal loss, momentum 0.95.
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.95, weight_decay=0.01)
    for step in range(6):
        images, labels = training(replace(RECIPE, augmentation="none"))._batches(step)
        optimizer.param_groups[0]["lr"] = 0.05 * min(step + 1, 6 - step) / 6
        flipped = run.prepare_step()[0]
        assert ((flipped == images) | (flipped == -images)).all()
        optimizer.zero_grad()
        own_parts.focal(model.train()(flipped), labels).backward()
        optimizer.step()
        run.run(1)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(run.model.get_parameter(name), weight)
    assert run.optimizer.defaults["momentum"] == 0.95


@pytest.mark.parametrize("optimizer", ["torch.optim:NAdam", "torch.optim:RMSprop", f"{OWN}:heavy_ball"])
def test_masks_and_resumption_hold_with_ones_own_optimizer(optimizer: str) -> None:
    recipe = replace(ALL, optimizer=optimizer)

    def run() -> Training:
        rule = GradualPruning(0.8, GlobalMagnitude(), UpdateWindow(0.2, 0.7, 1))
        return training(recipe, mask=Mask.ones(small_model()), rule=rule)

    whole, first, second = run(), run(), run()
    whole.run()
    first.run(3)
    second.load_state_dict(through_a_file(first.state_dict()))
    second.run()
    assert same(second.state_dict(), whole.state_dict())
    assert sum(int((~kept).sum()) for kept in whole.mask.values()) == round(0.8 * 144)
    assert all(not whole.model.get_parameter(name)[~kept].any() for name, kept in whole.mask.items())


def test_a_population_has_the_loss_of_its_members() -> None:
    recipe = replace(RECIPE, loss=f"{OWN}:focal")
    alone, together = ([training(recipe), training(recipe)] for _ in range(2))
    losses = [one.run() for one in alone]
    population = Population(together, strategy="batched")
    assert population.run() == pytest.approx(losses, rel=1e-4)
    assert population.strategy == "batched"
    with pytest.raises(ValueError, match="differ in shape, progress or recipe"):
        Population([training(recipe), training(RECIPE)], strategy="batched")


def test_steps_with_a_loss_or_optimizer_of_ones_own_are_not_recorded() -> None:
    for recipe, replays in ((RECIPE, 3), (replace(RECIPE, schedule=f"{OWN}:triangle"), 3), (ALL, 0)):
        recorder = Replaying()
        training(recipe, recorder=recorder).run()
        assert recorder.replays == replays


def test_the_usual_recipe_is_written_as_it_always_was() -> None:
    assert "loss" not in RECIPE.to_dict()
    assert Recipe(**ALL.to_dict()) == ALL
    assert ALL.own_parts == ("optimizer", "schedule", "augmentation", "loss")
    assert RECIPE.own_parts == ()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loss": "focal"}, "loss cannot be 'focal'. Known: cross_entropy, or your own as 'package.module:function'"),
        ({"loss": f"{OWN}:focal", "label_smoothing": 0.1}, "label_smoothing is for the loss cross_entropy, not"),
        ({"precision": "a:b"}, "precision cannot be 'a:b'."),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(RECIPE, **changes)
    assert sentence in str(caught.value)


def test_a_recipe_of_sound_parts_passes_the_rehearsal() -> None:
    assert sum(each.numel() for each in rehearsed(small_spec(), SHAPE, CLASSES, ALL).parameters()) > 144


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loss": "nowhere:focal"}, "The loss 'nowhere:focal' cannot be imported: No module named 'nowhere'."),
        ({"loss": f"{OWN}:focul"}, "has no function 'focul'. Did you mean 'focal'?"),
        (
            {"loss": f"{OWN}:no_loss"},
            f"with loss '{OWN}:no_loss' in float32: these labels are not to be learned.",
        ),
        ({"optimizer": f"{OWN}:nothing"}, "must be a torch.optim.Optimizer, not NoneType."),
        ({"optimizer": f"{OWN}:half_of_them"}, "must be over the parameters that it is given, all of them"),
        ({"optimizer": f"{OWN}:triangle"}, "cannot be made of parameters, lr and weight_decay: TypeError"),
        ({"optimizer": f"{OWN}:Forgetful"}, "differently when it goes on from a saved state"),
        ({"augmentation": f"{OWN}:noise_of_its_own"}, "must come from the generator that it is given"),
        ({"optimizer": "torch.optim:LBFGS"}, "LBFGS"),
    ],
)
def test_what_breaks_a_training_or_its_resumption_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        rehearsed(small_spec(), SHAPE, CLASSES, replace(RECIPE, **changes))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
