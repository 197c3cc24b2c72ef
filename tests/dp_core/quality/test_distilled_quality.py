from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dp_core.data.preprocessing import ZCA
from dp_core.distillation import DistilledSet, RandomImages
from dp_core.distillation.base import pixels
from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.quality.distilled_quality import QualityPlan, TicketTrial, distilled_quality
from dp_core.training import Recipe
from tests.dp_core.small import random_dataset, small_spec

TRAIN, VALIDATION = random_dataset(per_class=12), random_dataset(per_class=6, seed=1)
CONTROL = RandomImages().distill(TRAIN, 2, 1)
RETRAINING = Recipe(optimizer="adamw", learning_rate=0.01, steps=5, batch_size=12, mode="eager")
PLAN = QualityPlan(
    model=small_spec(),
    steps=(1, 2),
    trial=TicketTrial(sparsity=0.5, rounds=1, retraining=RETRAINING),
    teacher_steps=3,
)


def whitened_set() -> DistilledSet:
    made = RandomImages().distill(TRAIN, 2, 0)
    space = ZCA.fit(TRAIN.images.float() / 255)
    return replace(made, images=space(made.preprocessing.inverse(made.images)), preprocessing=space)  # type: ignore[union-attr]


def test_all_measures_are_taken_of_the_set_and_its_controls() -> None:
    found = distilled_quality(whitened_set(), TRAIN, VALIDATION, PLAN, controls={"random_images": CONTROL})
    assert list(found) == ["few_steps", "mask_quality", "mask_agreement", "feature_distance"]
    assert {row["steps"] for row in found["few_steps"]} == {1, 2}
    assert {row["steps"] for row in found["mask_quality"]} == {1, 2, None}
    for measure in ("mask_agreement", "feature_distance"):
        assert [row["source"] for row in found[measure]] == ["distilled", "random_images"]
    assert found == json.loads(json.dumps(found, allow_nan=False))  # it is kept in cards


def test_a_set_of_the_controls_images_is_as_far_from_real_ones_as_the_control() -> None:
    images = whitened_set().preprocess(CONTROL.preprocessing.inverse(CONTROL.images))  # type: ignore[union-attr]
    same = replace(whitened_set(), images=images, labels=CONTROL.labels)
    rows = distilled_quality(same, TRAIN, VALIDATION, PLAN, controls={"random_images": CONTROL})["feature_distance"]
    assert {**rows[0], "source": ""} == {**rows[1], "source": ""}
    assert images.shape == pixels(TRAIN, CONTROL.labels).shape


def test_a_network_without_an_embedding_is_refused_at_once() -> None:
    with pytest.raises(UserError, match="no architecture 'convnt'"):
        replace(PLAN, model=ModelSpec("convnt")).check(TRAIN)
