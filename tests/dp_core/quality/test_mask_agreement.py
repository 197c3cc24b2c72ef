from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from dp_core.data.preprocessing import ZCA, Standardisation
from dp_core.distillation import DistilledSet, RandomImages
from dp_core.errors import UserError
from dp_core.models import build
from dp_core.pruning import Mask, shuffle_within_layers
from dp_core.quality.mask_agreement import mask_agreement, mask_overlap
from dp_core.seeds import derive_seed
from dp_core.training import Recipe
from tests.dp_core.small import CLASSES, SHAPE, random_dataset, small_spec

STEP = Recipe(steps=3, batch_size=6, precision="float32", mode="eager")


def mask(**layers: str) -> Mask:
    return Mask({name: torch.tensor([each == "x" for each in weights]) for name, weights in layers.items()})


def test_an_overlap_counted_by_hand() -> None:
    # Both keep 1 + 1 = 2; 3 + 2 are kept by one of them at least. By chance 2·2/4 + 1·2/3 = 5/3 of 4 + 3 = 7 would be
    # common, which leaves 16/3 in the union.
    found = mask_overlap(mask(a="xx..", b="x.."), mask(a=".xx.", b="xx."))
    assert found.intersection_over_union == pytest.approx(2 / 5)
    assert found.chance == pytest.approx((5 / 3) / (16 / 3))
    assert found.above_chance == pytest.approx((2 / 5 - 5 / 16) / (1 - 5 / 16))


@given(st.integers(2, 40), st.data())
@settings(max_examples=60)
def test_equal_masks_agree_fully_and_opposite_ones_not_at_all(weights: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, weights - 1))
    one = mask(a="x" * kept + "." * (weights - kept))
    other = mask(a="." * kept + "x" * (weights - kept))
    same, opposite = mask_overlap(one, one), mask_overlap(one, other)
    assert same.intersection_over_union == 1
    assert same.above_chance == pytest.approx(1)
    assert opposite.intersection_over_union == 0
    assert opposite.above_chance < 0
    assert mask_overlap(other, one) == opposite


def test_masks_that_keep_everything_agree() -> None:
    assert mask_overlap(mask(a="xx"), mask(a="xx")).above_chance == 1


def test_chance_is_what_shuffled_masks_have_in_common() -> None:
    draw = torch.Generator().manual_seed(0)
    one = Mask({"a": torch.rand(400, generator=draw) < 0.7, "b": torch.rand(2000, generator=draw) < 0.1})
    other = Mask({"a": torch.rand(400, generator=draw) < 0.5, "b": torch.rand(2000, generator=draw) < 0.2})
    shuffled = [
        mask_overlap(one, shuffle_within_layers(other, draw)).intersection_over_union for _ in range(400)
    ]  # the standard error of the mean is about 0.0006
    assert sum(shuffled) / len(shuffled) == pytest.approx(mask_overlap(one, other).chance, abs=0.002)


def test_chance_is_just_below_the_exact_expectation() -> None:
    kept, others, weights = 30, 20, 100
    exact = sum(
        hypergeom.pmf(common, weights, kept, others) * common / (kept + others - common) for common in range(others + 1)
    )
    one, other = mask(a="x" * kept + "." * 70), mask(a="x" * others + "." * 80)
    assert 0 < exact - mask_overlap(one, other).chance < 0.004


def test_masks_of_different_networks_are_refused() -> None:
    with pytest.raises(UserError, match="Only masks of the same network"):
        mask_overlap(mask(a="xx"), mask(a="xxx"))
    with pytest.raises(UserError, match="Only masks of the same network"):
        mask_overlap(mask(a="xx"), mask(b="xx"))
    with pytest.raises(UserError, match="without a weight"):
        mask_overlap(mask(a=".."), mask(a=".."))


def small_set(ipc: int = 2) -> DistilledSet:
    return RandomImages().distill(random_dataset(), ipc, 0)


def test_masks_after_steps_of_no_length_are_those_of_the_initial_weights() -> None:
    # With a vanishing learning rate both masks are the largest initial weights, whatever the images are.
    still = Recipe(steps=1, learning_rate=1e-12, weight_decay=0.0, precision="float32", mode="eager")
    found = mask_agreement(
        small_set(), random_dataset(), small_spec(), sparsity=0.8, recipe_set=still, recipe_real=still, seed=5
    )
    assert found.intersection_over_union == 1
    model = build(small_spec(), SHAPE, CLASSES, seed=derive_seed(5, "initial weights"))
    weights = [model.get_parameter(name).detach().abs() for name in ("blocks.0.weight", "classifier.weight")]
    threshold = torch.cat([each.flatten() for each in weights]).sort(descending=True).values[28]  # 29 of 144 are kept
    kept = [int((each >= threshold).sum()) for each in weights]
    common = sum(count**2 / each.numel() for count, each in zip(kept, weights, strict=True))
    assert found.chance == pytest.approx(common / (58 - common))


def test_all_real_images_in_the_space_of_a_set_find_the_mask_of_real_data() -> None:
    # Full batches without augmentation: the same gradients but for the order of a sum.
    source = random_dataset()
    drawn, space = small_set(8), ZCA.fit(source.images.float() / 255)
    assert isinstance(drawn.preprocessing, Standardisation)
    whitened = replace(drawn, images=space(drawn.preprocessing.inverse(drawn.images)), preprocessing=space)
    full = Recipe(steps=20, batch_size=24, learning_rate=0.1, precision="float32", mode="eager")
    found = mask_agreement(whitened, source, small_spec(), sparsity=0.8, recipe_set=full, recipe_real=full, seed=2)
    assert found.intersection_over_union > 0.9


def test_agreement_is_deterministic_and_between_chance_and_equality() -> None:
    found = [
        mask_agreement(
            small_set(), random_dataset(), small_spec(), sparsity=0.8, recipe_set=STEP, recipe_real=STEP, seed=1
        )
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert 0 < found[0].chance < found[0].intersection_over_union < 1


def test_impossible_comparisons_are_refused() -> None:
    def agreement(sparsity: float, recipe: Recipe = STEP) -> None:
        mask_agreement(
            small_set(), random_dataset(), small_spec(), sparsity=sparsity, recipe_set=recipe, recipe_real=STEP, seed=0
        )

    with pytest.raises(UserError, match="sparsity above 0, not 0"):
        agreement(0.0)
    with pytest.raises(UserError, match="from 0 to below 1"):
        agreement(1.0)
    with pytest.raises(UserError, match=r"'convnet .*' cannot be compared: the loss became"):
        agreement(0.5, Recipe(steps=60, learning_rate=1e30, precision="float32", mode="eager"))
    with pytest.raises(UserError, match="classes"):
        mask_agreement(
            small_set(),
            random_dataset(classes=2),
            small_spec(),
            sparsity=0.5,
            recipe_set=STEP,
            recipe_real=STEP,
            seed=0,
        )
