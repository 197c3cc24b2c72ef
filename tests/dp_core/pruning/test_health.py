from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dp_core.pruning import Mask, at_chance, chance, layer_collapse
from dp_core.training import Evaluation, TrainingData, evaluate
from tests.dp_core.small import random_data


def mask_of(**kept: list[int]) -> Mask:
    return Mask({name: torch.tensor(values).bool() for name, values in kept.items()})


def test_collapsed_layers_are_named() -> None:
    assert layer_collapse(mask_of(a=[1, 1], b=[0, 1], c=[1])) is None
    assert layer_collapse(mask_of(a=[1, 1], b=[0, 0], c=[1])) == "layer collapse: no weight left in b"
    assert layer_collapse(mask_of(a=[0], b=[0, 0], c=[1])) == "layer collapse: no weight left in a, b"


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 1), min_size=1, max_size=4), min_size=1))
def test_a_mask_has_collapsed_if_and_only_if_some_layer_is_empty(kept: dict[str, list[int]]) -> None:
    assert (layer_collapse(mask_of(**kept)) is not None) == (min(sum(values) for values in kept.values()) == 0)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 1, 2, 0, 1, 2], 1 / 3), ([3, 3, 3, 0], 0.75), ([7], 1.0), ([0, 0, 1, 1, 1, 5, 5, 5, 5, 2], 0.4)],
)
def test_chance_is_the_accuracy_of_the_best_constant_answer(labels: list[int], expected: float) -> None:
    assert chance(torch.tensor(labels)) == pytest.approx(expected)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_no_constant_answer_beats_chance(labels: list[int]) -> None:
    ((_, most),) = Counter(labels).most_common(1)
    assert chance(torch.tensor(labels)) == pytest.approx(most / len(labels))


@pytest.mark.parametrize(
    ("accuracy", "predicted_classes", "dead"),
    [
        (0.4, 1, True),  # one class for every image, the most frequent one
        (0.1, 1, True),  # one class for every image, another
        (0.4, 7, True),  # several, to no effect
        (0.3, 2, True),
        (0.41, 2, False),
        (0.9, 10, False),
    ],
)
def test_a_network_is_dead_that_does_no_better_than_one_answer(
    accuracy: float, predicted_classes: int, dead: bool
) -> None:
    assert at_chance(Evaluation(accuracy, 2.3, predicted_classes), 0.4) is dead


def test_a_single_predicted_class_is_dead_where_the_images_scored_on_have_more_of_it_than_chance_says() -> None:
    assert at_chance(Evaluation(0.5, 1.0, 1), 0.34)


@pytest.mark.parametrize("weight", [0.0, math.nan])
def test_a_network_that_dies_is_noticed(weight: float) -> None:
    torch.manual_seed(0)
    linear, data = nn.Linear(36, 3), random_data(90)
    model = nn.Sequential(nn.Flatten(), linear)
    answers = model(data.images).argmax(1)
    labelled = TrainingData(data.images, answers)  # what this very network says, so it is right throughout
    assert len(answers.unique()) == 3
    assert not at_chance(evaluate(model, labelled), chance(labelled.labels))
    with torch.no_grad():
        linear.weight.fill_(weight)
    assert at_chance(evaluate(model, labelled), chance(labelled.labels))
