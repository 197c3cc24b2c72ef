from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dp_core.errors import UserError
from dp_core.pruning import Scope, prunable_parameters
from tests.dp_core.small import small_model

NAMES = ["stem.weight", "body.0.weight", "body.2.weight", "body.10.weight", "head.weight"]


def layered() -> nn.Module:
    """Return a network whose prunable weights are NAMES, in this order."""
    body = OrderedDict([("0", nn.Conv2d(2, 2, 1)), ("1", nn.BatchNorm2d(2)), ("2", nn.Conv2d(2, 2, 1))])
    layers = [("stem", nn.Conv2d(1, 2, 1)), ("body", nn.Sequential(body)), ("head", nn.Linear(2, 3))]
    model = nn.Sequential(OrderedDict(layers))
    model.get_submodule("body").add_module("10", nn.Conv2d(2, 2, 1))
    return model


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


@pytest.mark.parametrize("scope", [None, Scope()])
def test_a_model_with_nothing_to_prune_is_refused(scope: Scope | None) -> None:
    with pytest.raises(UserError, match="The model LayerNorm has no weights that multiply activations"):
        prunable_parameters(nn.LayerNorm(4), scope)


@pytest.mark.parametrize(
    ("scope", "places"),
    [
        (Scope(), [0, 1, 2, 3, 4]),
        (Scope(("body.*",)), [1, 2, 3]),
        (Scope(exclude=("head.weight",)), [0, 1, 2, 3]),
        (Scope(("body.?.weight",)), [1, 2]),  # one character, so not body.10
        (Scope(("body.[0-1]*",)), [1, 3]),
        (Scope(("body.[!0]*",)), [2, 3]),
        (Scope(("head.*", "stem.*")), [0, 4]),  # in the order of the model, not of the patterns
        (Scope(("*",), ("stem.*", "head.*")), [1, 2, 3]),
        (Scope(("body.*",), ("*.0.*",)), [2, 3]),
        (Scope(("body.*",), ("head.*",)), [1, 2, 3]),  # what is excluded need not be included
    ],
)
def test_patterns_choose_among_the_weights(scope: Scope, places: list[int]) -> None:
    model = layered()
    found = prunable_parameters(model, scope)
    assert list(found) == [NAMES[place] for place in places]
    assert all(found[name] is model.get_parameter(name) for name in found)
    assert [name in scope for name in NAMES] == [place in places for place in range(5)]
    assert not any(name.upper() in scope for name in NAMES) or scope.include == ("*",)  # case counts


@given(st.sets(st.sampled_from(NAMES), min_size=1), st.sets(st.sampled_from(NAMES)))
def test_what_is_left_is_the_difference_of_the_sets_that_are_named(include: set[str], exclude: set[str]) -> None:
    scope = Scope(tuple(include), tuple(exclude))
    if include <= exclude:
        with pytest.raises(UserError, match="leaves nothing to prune of stem"):
            prunable_parameters(layered(), scope)
    else:
        assert list(prunable_parameters(layered(), scope)) == [name for name in NAMES if name in include - exclude]


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (Scope(("haed.weight",)), r"pattern 'haed\.weight', which matches no weight.*Did you mean 'head\.weight'\?"),
        (Scope(("body.*", "tail.*")), r"'tail\.\*'.*There are: stem\.weight, body\.0\.weight, .*head\.weight\.$"),
        (Scope(exclude=("haed.*",)), r"pattern 'haed\.\*', which matches no weight"),
        (Scope(("Head.*",)), r"pattern 'Head\.\*'"),  # case counts, on every system
        (Scope(("head.bias",)), r"pattern 'head\.bias'"),  # never pruned
        (Scope(("body.1.*",)), r"pattern 'body\.1\.\*'"),  # a norm
        (Scope(exclude=("*",)), "leaves nothing to prune of stem"),
        (Scope(()), "leaves nothing to prune of stem"),
    ],
)
def test_a_scope_that_does_not_fit_the_model_is_told_in_one_sentence(scope: Scope, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prunable_parameters(layered(), scope)


def test_a_scope_says_what_is_prunable() -> None:
    every = "weights that multiply activations"
    assert Scope().describe() == every
    assert Scope(("body.*",)).describe() == f"{every} named body.*"
    assert Scope(("body.*", "stem.*"), ("*.0.*",)).describe() == f"{every} named body.* or stem.* but not *.0.*"
    assert Scope(exclude=("head.*", "stem.*")).describe() == f"{every} but not head.* or stem.*"
