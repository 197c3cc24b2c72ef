"""What every proxy that trains must do: the contract of Proxy, and that of ShortTraining."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from dp_core.errors import UserError
from dp_core.proxies import PROXIES, Proxy, Reading
from dp_core.proxies.judged import WORST
from dp_core.proxies.short_training import MEASURES, ShortTraining
from tests.dp_core.proxies.trained import trained_inputs
from tests.dp_core.small import same, small_spec

SPEEDS = ("speed", "late_speed")
# The settings of each kind, and how many images it trains on.
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "distilled_training": ({"set": "plain", "steps": (2, 5), "measures": MEASURES}, 6),
    "real_training": ({"steps": (2, 5), "measures": MEASURES}, 24),
    "random_subset": ({"ipc": 3, "steps": (2, 5), "measures": MEASURES}, 9),
    "training_speed": ({"source": "plain", "steps": (2, 5), "measures": SPEEDS}, 6),
    "distilled_pruning": ({"set": "plain", "steps": (3,), "sparsities": (0.3, 0.6)}, 6),
}
OF_LENGTHS = [name for name in KINDS if name != "distilled_pruning"]


def proxy_of(name: str, **settings: Any) -> Proxy:
    return PROXIES[name](**(KINDS[name][0] | settings))


def readings(name: str, seed: int = 0, norm: str = "batch", **settings: Any) -> dict[str, Reading]:
    found = proxy_of(name, **settings).score(small_spec(norm), trained_inputs(), seed)
    return {reading.key: reading for reading in found}


def values(name: str, seed: int = 0, norm: str = "batch", **settings: Any) -> dict[str, float]:
    return {key: reading.value for key, reading in readings(name, seed, norm, **settings).items()}


def test_all_are_here() -> None:
    assert {name for name, kind in PROXIES.items() if issubclass(kind, ShortTraining)} == {*KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_readings_have_the_keys_in_their_order(name: str) -> None:
    proxy, inputs = proxy_of(name), trained_inputs()
    proxy.check(inputs)
    found = proxy.score(small_spec(), inputs, 0)
    assert tuple(reading.key for reading in found) == proxy.keys
    for reading in found:
        assert math.isfinite(reading.value)
        assert 0 < reading.seconds < 60
        assert 0 <= reading.processor_seconds < 60
        assert 0 <= reading.value <= 1 or not reading.key.startswith(("accuracy", "area"))


@pytest.mark.parametrize("name", KINDS)
def test_the_seed_and_nothing_else_decides(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = values(name)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert values(name) == first
    assert values(name, seed=1) != first


@pytest.mark.parametrize("name", KINDS)
def test_inputs_and_sets_stay_as_they_are(name: str) -> None:
    inputs, untouched = trained_inputs(), trained_inputs()
    digests = {known: kept.digest for known, kept in inputs.sets.items()}
    proxy_of(name).score(small_spec(), inputs, 0)
    for split in ("train", "validation"):
        kept, there = getattr(untouched, split), getattr(inputs, split)
        assert same([there.images, there.labels], [kept.images, kept.labels])
    assert {known: kept.digest for known, kept in inputs.sets.items()} == digests


@pytest.mark.parametrize("name", OF_LENGTHS)
@pytest.mark.parametrize("batch_size", [4, 100])
def test_costs_of_each_length_and_measure(name: str, batch_size: int) -> None:
    found = readings(name, batch_size=batch_size)
    for key, reading in found.items():
        measure, steps = key.split("@")
        assert reading.image_gradients == int(steps) * min(batch_size, KINDS[name][1]), key
        again = 24 if measure == "calibrated" else 0  # all training images, for the batch norms' statistics
        assert reading.forward_images == (0 if measure in SPEEDS else 180 + again), key
    if name != "training_speed":
        assert found["speed@5"].seconds < found["accuracy@5"].seconds == found["loss@5"].seconds


@pytest.mark.parametrize("batch_size", [4, 100])
def test_costs_of_pruning_are_those_of_the_rounds_so_far(batch_size: int) -> None:
    found = readings("distilled_pruning", batch_size=batch_size)
    each = 3 * min(batch_size, 6)
    costs = {key: (reading.image_gradients, reading.forward_images) for key, reading in found.items()}
    assert costs == {
        "calibrated@0.3": (2 * each, 204),  # 180 held-back images and 24 for the batch norms' statistics
        "calibrated@0.6": (3 * each, 204),
        "area": (3 * each, 3 * 204),
    }
    assert found["calibrated@0.3"].seconds < found["calibrated@0.6"].seconds < found["area"].seconds


@pytest.mark.parametrize("name", OF_LENGTHS)
@pytest.mark.parametrize("steps", [2, 5])
def test_every_length_is_a_training_of_its_own(name: str, steps: int) -> None:
    together, alone = values(name), values(name, steps=(steps,))
    assert alone == {key: value for key, value in together.items() if key.endswith(f"@{steps}")}


@pytest.mark.parametrize("name", OF_LENGTHS)
@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_does_not_depend_on_the_others(name: str, measure: str) -> None:
    if measure in proxy_of(name).measures:  # type: ignore[attr-defined]
        together, alone = values(name), values(name, measures=(measure,))
        assert alone == {key: together[key] for key in (f"{measure}@2", f"{measure}@5")}


@pytest.mark.parametrize("name", KINDS)
def test_a_training_that_diverges_is_worth_chance_or_the_worst(name: str) -> None:
    found = readings(name, norm="none", learning_rate=1e30)
    for key, reading in found.items():
        chance = key.startswith(("accuracy", "calibrated", "area"))
        assert reading.value == (pytest.approx(1 / 3) if chance else WORST), key
        assert reading.forward_images == 0, key
        assert reading.image_gradients > 0, key


@pytest.mark.parametrize("name", KINDS)
def test_a_high_rate_leaves_finite_values(name: str) -> None:
    for norm in ("batch", "none"):
        assert all(math.isfinite(value) for value in values(name, norm=norm, learning_rate=1e6).values())


@pytest.mark.parametrize("name", ["distilled_training", "real_training", "random_subset"])
def test_what_the_last_step_breaks_is_worth_no_more(name: str) -> None:
    found = values(name, norm="none", learning_rate=1e38, steps=(1,))
    assert found["accuracy@1"] == pytest.approx(1 / 3)
    assert found["loss@1"] == WORST
    assert -10 < found["speed@1"] == found["late_speed@1"] < 0


def test_pruning_stops_where_the_last_step_of_a_round_breaks_the_network() -> None:
    found = readings("distilled_pruning", norm="none", learning_rate=1e38, steps=(1,))
    assert [reading.value for reading in found.values()] == pytest.approx([1 / 3] * 3)
    assert {reading.image_gradients for reading in found.values()} == {6}  # those of the dense round
    assert [reading.forward_images for reading in found.values()] == [0, 0, 180]


def test_the_worst_can_be_averaged_and_is_worse_than_float32_can_sum_to() -> None:
    assert math.isfinite(sum([WORST] * 1000))
    assert math.isfinite(WORST**2)
    assert -torch.finfo(torch.float32).max * 1e9 > WORST


@pytest.mark.parametrize("name", ["distilled_training", "distilled_pruning"])
def test_an_unknown_set_is_refused(name: str) -> None:
    proxy = proxy_of(name, set="plan")
    said = "There is no distilled set 'plan'. Did you mean 'plain'? Known: plain, shifted, whitened, learned."
    for use in (proxy.check, lambda inputs: proxy.score(small_spec(), inputs, 0)):
        with pytest.raises(UserError) as caught:
            use(trained_inputs())
        assert str(caught.value) == said
    with pytest.raises(UserError, match=r"no distilled set 'plan'\. There is none\."):
        proxy.check(replace(trained_inputs(), sets={}))


def test_the_source_of_training_speed_is_real_or_a_set() -> None:
    with pytest.raises(UserError, match=r"set 'rael'\. Did you mean 'real'\? Known: real, plain"):
        proxy_of("training_speed", source="rael").check(trained_inputs())
    real = values("training_speed", source="real")
    assert real == {key: value for key, value in values("real_training").items() if key in real}
    plain = values("distilled_training")
    assert values("training_speed") == {key: plain[key] for key in real}


@pytest.mark.parametrize("name", ["distilled_training", "distilled_pruning", "training_speed"])
def test_a_set_of_other_classes_is_refused(name: str) -> None:
    inputs = trained_inputs()
    named = replace(inputs.sets["plain"], class_names=("cat", "dog", "owl"))
    with pytest.raises(UserError, match=r"The distilled set has 3 classes \(cat, dog, owl"):
        proxy_of(name).check(replace(inputs, sets={"plain": named}))


def test_a_random_subset_needs_its_images() -> None:
    proxy = proxy_of("random_subset", ipc=9)
    for use in (proxy.check, lambda inputs: proxy.score(small_spec(), inputs, 0)):
        with pytest.raises(UserError, match="'class 0' has 8 images, fewer than the 9 asked for"):
            use(trained_inputs())
