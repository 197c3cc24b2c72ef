from __future__ import annotations

from dataclasses import replace

import pytest

from dp_core.distillation import RandomImages
from dp_core.distillation.judging import few_step_accuracy
from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.quality.few_steps import few_steps
from tests.dp_core.small import random_dataset, small_spec

TRAIN, VALIDATION = random_dataset(per_class=12), random_dataset(per_class=6, seed=1)
SET = RandomImages().distill(TRAIN, 2, 0)
CONTROL = RandomImages().distill(TRAIN, 2, 1)


def test_every_source_is_there_at_every_number_of_steps() -> None:
    heard: list[str] = []
    specs = [small_spec("batch"), small_spec("none")]
    rows = few_steps(
        SET,
        TRAIN,
        VALIDATION,
        specs,
        controls={"random_images": CONTROL},
        steps=(1, 4),
        seeds=(0, 1),
        tell=heard.append,
    )
    found = [(row["architecture"], row["steps"], row["seed"], row["source"]) for row in rows]
    sources = ("distilled", "random_images", "real")
    labels = [spec.label() for spec in specs]
    assert found == [(a, steps, seed, s) for a in labels for steps in (1, 4) for seed in (0, 1) for s in sources]
    assert len(heard) == len(rows)
    assert {(row["steps"], row["image_gradients"]) for row in rows} == {(1, 6), (4, 24)}  # 6 images, real ones too
    for row in rows:
        if row["source"] == "real":
            continue
        each, spec = (SET if row["source"] == "distilled" else CONTROL), specs[labels.index(row["architecture"])]
        assert row["accuracy"] == few_step_accuracy(each, VALIDATION, spec, row["steps"], row["seed"], train=TRAIN)


def test_all_real_images_as_a_set_learn_like_real_data() -> None:
    # The set of all images and the data that it was drawn from differ in their order only.
    source = random_dataset(per_class=12)
    everything = RandomImages().distill(source, 12, 0)
    rows = few_steps(everything, source, VALIDATION, [small_spec()], controls={}, steps=(40,))
    distilled, real = (row["accuracy"] for row in rows)
    assert {row["image_gradients"] for row in rows} == {40 * 36}
    assert distilled == pytest.approx(real, abs=0.12)
    assert real > 0.6  # chance is 1/3


def test_real_data_know_nothing_of_the_rate_of_the_set() -> None:
    def accuracies(rate: float | None) -> list[float]:
        made = replace(SET, learning_rate=rate)
        return [row["accuracy"] for row in few_steps(made, TRAIN, VALIDATION, [small_spec()], controls={}, steps=(10,))]

    usual, absurd = accuracies(None), accuracies(1e12)
    assert usual[1] == absurd[1]
    assert absurd[0] == pytest.approx(1 / 3, abs=0.01)  # chance: it diverged, or predicts one class


def test_a_set_for_other_images_is_refused() -> None:
    other = random_dataset(classes=2)
    with pytest.raises(UserError, match="classes"):
        few_steps(SET, other, other, [ModelSpec("convnet")], controls={})
