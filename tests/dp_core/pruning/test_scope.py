from __future__ import annotations

import pytest
from torch import nn

from dp_core.errors import UserError
from dp_core.pruning import prunable_parameters
from tests.dp_core.small import small_model


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
def test_the_weights_of_convolutions_and_linear_layers_are_prunable_and_nothing_else(norm: str) -> None:
    model = small_model(norm)
    found = prunable_parameters(model)
    assert list(found) == ["blocks.0.weight", "classifier.weight"]
    assert found["classifier.weight"] is dict(model.named_parameters())["classifier.weight"]


def test_a_shared_weight_is_listed_once_and_other_layers_not_at_all() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    model = nn.Sequential(nn.Conv1d(4, 4, 3), first, second, nn.Embedding(3, 4), nn.LayerNorm(4), nn.PReLU())
    assert list(prunable_parameters(model)) == ["0.weight", "1.weight"]


def test_a_model_with_nothing_to_prune_is_refused() -> None:
    with pytest.raises(UserError, match="The model LayerNorm has no convolution or linear layer"):
        prunable_parameters(nn.LayerNorm(4))
