"""Masks that change in the course of a training, in every way that a network can be executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dp_core.pruning import GlobalMagnitude, GradualPruning, Mask, RigL, UpdateWindow
from dp_core.training import MaskRule, Mode, Population, Precision, Recipe, Training
from dp_core.training.graph import Recorder
from tests.dp_core.small import random_data, same, small_model, through_a_file
from tests.dp_core.training.test_graph import Replaying
from tests.dp_core.training.test_network import half_mask

STEPS = 14
RECIPE = Recipe(steps=STEPS, batch_size=6, learning_rate=0.05, precision="float32", augmentation="flip_crop")
WINDOW = UpdateWindow(0.0, 0.9, 4)  # after steps 1, 5, 9 and 13
RULES: dict[str, MaskRule] = {
    "gradual": GradualPruning(0.8, GlobalMagnitude(), WINDOW, initial=0.5),
    "rigl": RigL(WINDOW, alpha=0.5),
}


def training(rule: str | None, recipe: Recipe = RECIPE, *, seed: int = 5, **settings: Any) -> Training:
    model = small_model("instance", seed=seed)
    kept = half_mask(model)
    chosen = None if rule is None else RULES[rule]
    if isinstance(chosen, GradualPruning):
        chosen = replace(chosen, initial=kept.sparsity)
    return Training(model, random_data(), recipe, seed=seed, mask=kept, rule=chosen, **settings)


def removed_are_zero(run: Training) -> bool:
    return all(not run.model.get_parameter(name)[~kept].any() for name, kept in run.mask.items())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(("mode", "precision"), [("eager", "float32"), ("fused", "float32"), ("fused", "bfloat16")])
def test_removed_weights_are_zero_after_every_step_and_masks_change_when_due(
    rule: str, mode: Mode, precision: Precision, optimizer: Any
) -> None:
    run = training(rule, replace(RECIPE, mode=mode, precision=precision, optimizer=optimizer))
    before, changed = run.mask, []
    for step in range(1, STEPS + 1):
        run.run(1)
        assert removed_are_zero(run)
        if not same(run.mask, before):
            changed.append(step)
        before = run.mask
    assert set(changed) <= {1, 5, 9, 13}
    assert {5, 9} <= set(changed)


@pytest.mark.parametrize("rule", RULES)
def test_recorded_steps_see_the_mask_as_it_is(rule: str) -> None:
    recorder = Replaying()
    recorded, plain = training(rule, recorder=recorder), training(rule)
    for _ in range(STEPS):
        assert recorded.run(1) == plain.run(1)
        assert same(recorded.mask, plain.mask)
        assert removed_are_zero(recorded)
    assert same(recorded.state_dict()["model"], plain.state_dict()["model"])
    # Three steps to warm up, and those after which a rule looks at gradients, are not recorded; at 13 it moves nothing.
    assert recorder.captures == 1
    assert recorder.replays == {"gradual": STEPS - 3, "rigl": STEPS - 3 - 3}[rule]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("recorder", [None, Replaying()])
def test_members_of_a_population_change_as_they_would_alone(rule: str, recorder: Recorder | None) -> None:
    recipe = replace(RECIPE, mode="eager", augmentation="siamese")
    alone, together = ([training(rule, recipe, seed=seed) for seed in range(3)] for _ in range(2))
    for run in alone:
        run.run(4)
    population = Population(together, strategy="batched", recorder=recorder)
    population.run(4)
    assert population.run() == pytest.approx([run.run() for run in alone], rel=1e-3)
    assert population.strategy == "batched"
    for single, joint in zip(alone, together, strict=True):
        assert same(joint.mask, single.mask)
        assert removed_are_zero(joint)
        for name, value in single.model.named_parameters():
            torch.testing.assert_close(joint.model.get_parameter(name), value, rtol=1e-3, atol=1e-5)
    assert not same(together[0].mask, together[1].mask)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_in_parts_gives_the_same_masks(rule: str) -> None:
    whole, parts = training(rule), training(rule, memory_parts=3)
    whole.run()
    parts.run()
    assert same(parts.mask, whole.mask)


@pytest.mark.parametrize("mode", ["eager", "fused"])
def test_a_mask_is_part_of_the_state(mode: Mode) -> None:
    recipe = replace(RECIPE, mode=mode, optimizer="adamw")
    whole = training("rigl", recipe)
    whole.run()
    for stop in (1, 4, 5, 13):
        first, second = training("rigl", recipe), training("rigl", recipe)
        first.run(stop)
        second.run(9)
        second.load_state_dict(through_a_file(first.state_dict()))
        assert same(second.mask, first.mask)
        second.run()
        assert same(second.mask, whole.mask)
        assert same(second.state_dict()["model"], whole.state_dict()["model"])
    assert "mask" not in training(None).state_dict()  # a mask that does not change is not


def test_a_rule_of_ones_own_is_told_what_there_is() -> None:
    seen: list[tuple[int, list[str], bool]] = []

    @dataclass(frozen=True)
    class Halving:
        """Removes every second weight that is left, and looks at seven images for it."""

        uses_gradients: bool = True

        def is_due(self, step: int, total: int) -> bool:
            return step in (3, total)

        def image_gradients(self, step: int, total: int) -> int:
            return 7 * sum(self.is_due(done, total) for done in range(1, step + 1))

        def __call__(self, training: Training) -> Mapping[str, Tensor]:
            gradients = [training.model.get_parameter(name).grad for name in training.mask]
            seen.append((training.step, list(training.mask), all(gradient is not None for gradient in gradients)))
            halved = {}
            for name, kept in training.mask.items():
                flat = kept.reshape(-1).clone()
                flat[flat.nonzero().squeeze(1)[::2]] = False
                halved[name] = flat.view(kept.shape)
            return halved

    model = small_model()
    everything = Mask.ones(model)
    run = Training(model, random_data(), RECIPE, seed=0, mask=everything, rule=Halving())
    run.run()
    assert seen == [(3, list(everything), True), (STEPS, list(everything), True)]
    assert [int(kept.sum()) for kept in run.mask.values()] == [9, 27]
    assert removed_are_zero(run)
    assert run.image_gradients == 6 * STEPS + 14
