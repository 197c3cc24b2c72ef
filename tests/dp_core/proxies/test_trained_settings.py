"""What the settings of proxies that train may be."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dp_core.distillation.judging import judging_recipe
from dp_core.errors import UserError
from dp_core.proxies import PROXIES
from dp_core.proxies.short_training import ShortTraining
from tests.dp_core.proxies.trained import SHIFTED, set_in

KINDS = [name for name, kind in PROXIES.items() if issubclass(kind, ShortTraining)]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": ()}, "steps rise and are at least 1"),
        ({"steps": (0,)}, "steps rise and are at least 1"),
        ({"steps": (-3, 5)}, "steps rise and are at least 1"),
        ({"steps": (5, 5)}, r"steps rise and are at least 1, which \[5, 5\] do not"),
        ({"steps": (9, 5)}, r"steps rise and are at least 1, which \[9, 5\] do not"),
        ({"measures": ()}, "one measure or several different ones"),
        ({"measures": ("speed", "speed")}, "one measure or several different ones"),
        ({"measures": ("acuracy",)}, "no measure 'acuracy'. Did you mean 'accuracy'"),
        ({"learning_rate": 0.0}, "a learning_rate above 0, not 0"),
        ({"learning_rate": -0.1}, "a learning_rate above 0"),
        ({"learning_rate": math.inf}, "a learning_rate above 0"),
        ({"learning_rate": math.nan}, "a learning_rate above 0"),
        ({"batch_size": 0}, "a batch_size of at least 1, not 0"),
        ({"schedule": "one_cicle"}, "schedule cannot be 'one_cicle'. Did you mean 'one_cycle'"),
        ({"augmentation": "siamise"}, "augmentation cannot be 'siamise'. Did you mean 'siamese'"),
    ],
)
def test_what_no_training_can_do_is_refused(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        PROXIES[name](**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("random_subset", {"ipc": 0}, "needs its 'ipc' to be a whole number from 1 on, not 0"),
        ("training_speed", {"measures": ("accuracy",)}, "by speed, late_speed or both"),
        ("training_speed", {"measures": ("speed", "loss")}, "by speed, late_speed or both"),
        ("distilled_pruning", {"steps": (3, 5)}, "one number of steps"),
        ("distilled_pruning", {"measures": ("speed",)}, "measures 'calibrated'"),
        ("distilled_pruning", {"sparsities": ()}, "Sparsities rise, above 0 and below 1"),
        ("distilled_pruning", {"sparsities": (0.0, 0.5)}, "Sparsities rise, above 0 and below 1"),
        ("distilled_pruning", {"sparsities": (0.5, 1.0)}, "Sparsities rise, above 0 and below 1"),
        ("distilled_pruning", {"sparsities": (0.5, 0.5)}, "Sparsities rise, above 0 and below 1"),
        ("distilled_pruning", {"sparsities": (0.9, 0.5)}, r"which \[0.9, 0.5\] do not"),
        ("distilled_pruning", {"sparsities": (math.nan,)}, "Sparsities rise, above 0 and below 1"),
        ("distilled_pruning", {"sparsities": (0.12345671, 0.12345672)}, "differ in their first six digits"),
    ],
)
def test_what_a_kind_cannot_do_is_refused(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        PROXIES[name](**settings)


@pytest.mark.parametrize("name", KINDS)
def test_lists_as_json_has_them_are_as_good_as_tuples(name: str) -> None:
    kind = PROXIES[name]
    measures = ["speed"] if name == "training_speed" else ["calibrated"]
    assert kind(steps=[7], measures=measures) == kind(steps=(7,), measures=tuple(measures))  # type: ignore[call-arg]
    assert hash(kind(steps=[7])) == hash(kind(steps=(7,)))  # type: ignore[call-arg]


def test_no_setting_is_ignored() -> None:
    proxy = ShortTraining(learning_rate=0.02, schedule="cosine", batch_size=7, augmentation="flip_crop")
    for learned in (None, 0.5):
        recipe = proxy.recipe(40, learned)
        assert (recipe.optimizer, recipe.learning_rate, recipe.schedule) == ("adamw", 0.02, "cosine")
        assert (recipe.steps, recipe.batch_size, recipe.augmentation) == (40, 7, "flip_crop")
    assert ShortTraining().recipe(40).learning_rate == 3e-3


@pytest.mark.parametrize("learning_rate", [None, 0.05])
def test_by_default_a_set_is_trained_on_as_it_is_judged(learning_rate: float | None) -> None:
    judged = judging_recipe(set_in(SHIFTED, learning_rate), 30)
    assert ShortTraining(batch_size=6).recipe(30, learning_rate) == judged
