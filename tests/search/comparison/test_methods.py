"""What the methods of a config mean for a network, and every mistake that can be made in them."""

from __future__ import annotations

from typing import Any

import pytest

from dp_core.errors import UserError
from dp_core.pruning.sparse_training import Gradual, OneShot, SparseRigL
from tests.search.comparison.tiny_comparison import methods, ready_made

DISTILLED = {"source": "distilled", "ipc": 2, "steps": 2}


def test_every_number_of_steps_is_a_method_of_its_family() -> None:
    found = methods(
        {"dense": {"kind": "dense"}, "x": {"source": "real", "steps": [5, 10]}, "y": {"source": "real", "steps": 5}}
    )
    assert list(found) == ["dense", "x-5", "x-10", "y"]
    assert [method.family for method in found.values()] == ["dense", "x", "x", "y"]
    assert [found[name].recipe.steps for name in ("x-5", "x-10", "y")] == [5, 10, 5]  # type: ignore[union-attr]


def test_the_studys_sparsities_hold_unless_a_method_has_its_own() -> None:
    found = methods({"x": {"source": "real", "steps": 2}, "y": {"source": "real", "steps": 2, "sparsities": [0.3]}})
    assert [found[name].sparsities for name in "xy"] == [(0.5, 0.8), (0.3,)]


def test_the_dense_network_has_one_ticket() -> None:
    assert methods({"dense": {"kind": "dense"}})["dense"].sparsities == (0.0,)


@pytest.mark.parametrize(
    ("pattern", "zeros"),
    [
        ("2:4", 96),  # 192 inputs of the linear layer; three channels are no multiple of four
        ("1:3", 72),  # three channels of the convolution's 36 kernel positions; 64 inputs are no multiple of three
    ],
)
def test_a_pattern_has_a_sparsity_of_its_own(pattern: str, zeros: int) -> None:
    found = methods({"x": {"kind": "at_initialisation", "criterion": pattern}})
    assert found["x"].sparsities == pytest.approx((zeros / 300,))


def test_a_control_has_the_sparsities_of_what_it_controls() -> None:
    found = methods(
        {
            "shuffled": {"kind": "shuffled", "of": "x"},
            "fresh": {"kind": "reinitialised", "of": "y-5"},
            "x": {"source": "real", "steps": 2, "sparsities": [0.3, 0.6, 0.7]},
            "y": {"source": "real", "steps": [5, 6], "sparsities": [0.4]},
        }
    )
    assert found["shuffled"].sparsities == (0.3, 0.6, 0.7)
    assert found["fresh"].sparsities == (0.4,)
    assert (found["shuffled"].parent, found["fresh"].parent) == ("x", "y-5")
    assert found["shuffled"].recipe == found["x"].recipe


def test_a_combination_has_the_sparsities_above_its_start() -> None:
    found = methods(
        {"x": DISTILLED, "y": {"source": "real", "steps": 2, "start_from": "x", "start_sparsity": 0.5}},
        sparsities=[0.3, 0.5, 0.6, 0.8],
    )
    assert found["y"].sparsities == (0.6, 0.8)
    assert (found["y"].parent, found["y"].start_sparsity) == ("x", 0.5)


def test_what_becomes_sparse_while_it_trains_has_settings_and_a_start() -> None:
    found = methods(
        {
            "x": DISTILLED,
            "shuffled": {"kind": "shuffled", "of": "x"},
            "g": {"kind": "gradual", "settings": {"end": 0.9, "every": 5}},
            "o": {"kind": "one_shot", "criterion": "magnitude_layerwise", "settings": {"at": 0.5}},
            "r": {"kind": "rigl"},
            "n": {"kind": "gradual", "criterion": "2:4"},
            "g_x": {"kind": "gradual", "start_from": "shuffled", "start_sparsity": 0.5},
            "r_x": {"kind": "rigl", "start_from": "x"},
        }
    )
    assert found["g"].sparse_training == Gradual(begin=0.05, end=0.9, every=5)
    assert found["o"].sparse_training == OneShot(at=0.5)
    assert found["r"].sparse_training == SparseRigL()
    assert [found[name].criterion for name in "gorn"] == ["magnitude", "magnitude_layerwise", "random_erk", "2:4"]
    assert [found[name].sparsities for name in "gor"] == [(0.5, 0.8)] * 3
    assert found["n"].sparsities == pytest.approx((96 / 300,))
    assert (found["g_x"].parent, found["g_x"].start_sparsity, found["g_x"].sparsities) == ("shuffled", 0.5, (0.8,))
    assert (found["r_x"].parent, found["r_x"].start_sparsity, found["r_x"].sparsities) == ("x", None, (0.5, 0.8))
    assert all(found[name].recipe is None and found[name].source is None for name in ("g", "o", "r", "g_x", "r_x"))


def test_a_recipe_is_the_studys_with_the_methods_on_top() -> None:
    found = methods(
        {"x": {"source": "real", "epochs": 2.5, "learning_rate": 0.3, "recipe": {"batch_size": 8}}},
        round_recipe={"weight_decay": 0.01},
    )["x"]
    recipe = found.recipe
    assert recipe is not None
    assert (recipe.optimizer, recipe.batch_size, recipe.weight_decay) == ("adamw", 8, 0.01)
    assert (recipe.learning_rate, recipe.steps, recipe.epochs) == (0.3, None, 2.5)
    assert recipe.total_steps(48) == 15
    assert found.learning_rates == (0.3,)


def test_learning_rates_are_one_several_or_the_sets_own() -> None:
    found = methods(
        {
            "comparison": {"source": "real", "steps": 2},
            "several": {"source": "real", "steps": [2, 3], "learning_rate": [0.1, 0.2]},
            "learned": {"source": "mtt", "steps": 2, "learning_rate": "learned"},
        },
        sets={"mtt": ready_made(learning_rate=0.0125)},
    )
    rates = {name: method.learning_rates for name, method in found.items()}
    assert rates == {"comparison": (0.02,), "several-2": (0.1, 0.2), "several-3": (0.1, 0.2), "learned": (0.0125,)}
    assert [method.recipe.learning_rate for method in found.values()] == [0.02, 0.1, 0.1, 0.0125]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("section", "step"),
    [
        ({"source": "real", "steps": 9, "rewind_step": 4}, 4),
        ({"source": "real", "epochs": 4, "rewind_epochs": 1}, 3),  # 48 images in batches of 16
        ({"source": "real", "epochs": 4, "rewind_epochs": 0.5}, 2),  # 1.5, to the even
        ({"source": "subset", "ipc": 8, "epochs": 4, "rewind_epochs": 2}, 3),  # 24 images
        ({"source": "distilled", "ipc": 2, "epochs": 4, "rewind_epochs": 2}, 2),  # 6 images are one full batch
        ({"source": "mtt", "epochs": 4, "rewind_epochs": 2}, 2),
    ],
)
def test_rewinding_counts_passes_over_the_methods_own_source(section: dict[str, Any], step: int) -> None:
    assert methods({"x": section}, sets={"mtt": ready_made()})["x"].rewind_step == step


def test_sources_of_criteria_and_of_rounds() -> None:
    found = methods(
        {
            "snip": {"kind": "at_initialisation", "criterion": "snip"},
            "distilled_snip": {"kind": "at_initialisation", "criterion": "snip", "source": "distilled", "ipc": 2},
            "x": DISTILLED,
            "fresh": {"kind": "reinitialised", "of": "x"},
        }
    )
    assert [method.source for method in found.values()] == [None, "distilled", "distilled", "distilled"]
    assert [method.set_key for method in found.values()] == [None, "distilled-2", "distilled-2", "distilled-2"]


REAL = {"source": "real", "steps": 2}
CONTROL = {"kind": "shuffled", "of": "base"}
START = {"start_from": "base", "start_sparsity": 0.5}
GRADUAL: dict[str, Any] = {"kind": "gradual"}
UNTRAINED = {"kind": "at_initialisation", "criterion": "random"}


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        # sources
        ({"steps": 2}, "an iterative method needs a 'source': real, subset, distilled or one of 'sets'."),
        (
            {"source": "distiled", "steps": 2},
            "there is no source 'distiled'. Did you mean 'distilled'? Known: real, subset, distilled, mtt.",
        ),
        ({"source": "subset", "steps": 2}, "the source 'subset' needs 'ipc'."),
        ({"source": "distilled", "steps": 2}, "the source 'distilled' needs 'ipc'."),
        ({**REAL, "ipc": 2}, "the source 'real' has no use for 'ipc'."),
        ({"source": "mtt", "steps": 2, "ipc": 2}, "the source 'mtt' has no use for 'ipc'."),
        # keys that mean nothing
        ({"kind": "dense", "steps": 2}, "the key 'steps' has no meaning for the kind 'dense'."),
        ({"kind": "dense", "sparsities": [0.5]}, "the key 'sparsities' has no meaning for the kind 'dense'."),
        (
            {**UNTRAINED, "learning_rate": 0.1},
            "the key 'learning_rate' has no meaning for the kind 'at_initialisation'.",
        ),
        (
            {**UNTRAINED, "recipe": {"momentum": 0.5}},
            "the key 'recipe' has no meaning for the kind 'at_initialisation'.",
        ),
        ({**UNTRAINED, **START}, "the key 'start_from' has no meaning for the kind 'at_initialisation'."),
        ({**UNTRAINED, "rewind_step": 1}, "the key 'rewind_step' has no meaning for the kind 'at_initialisation'."),
        ({**CONTROL, "source": "real"}, "the key 'source' has no meaning for the kind 'shuffled'."),
        ({**CONTROL, "criterion": "snip"}, "the key 'criterion' has no meaning for the kind 'shuffled'."),
        ({**CONTROL, "sparsities": [0.5]}, "the key 'sparsities' has no meaning for the kind 'shuffled'."),
        ({**REAL, "of": "base"}, "the key 'of' has no meaning for the kind 'iterative'."),
        # keys that are missing or too many
        ({"kind": "reinitialised"}, "a reinitialised control needs 'of', the method whose tickets it is about."),
        ({**REAL, "start_from": "base"}, "'start_from' and 'start_sparsity' go together."),
        ({**REAL, "start_sparsity": 0.5}, "'start_from' and 'start_sparsity' go together."),
        ({**REAL, "rewind_step": 1, "rewind_epochs": 1}, "give 'rewind_step' or 'rewind_epochs', not both."),
        ({**REAL, "epochs": 2}, "a method needs either 'steps' or 'epochs'."),
        ({"source": "real"}, "a method needs either 'steps' or 'epochs'."),
        ({**REAL, "recipe": {"steps": 5}}, "'steps' stands beside 'recipe', not in it."),
        ({**REAL, "recipe": {"learning_rate": 0.5}}, "'learning_rate' stands beside 'recipe', not in it."),
        ({**REAL, "learning_rate": []}, "'learning_rate' is an empty list."),
        ({**REAL, "learning_rate": [0.003, 0.01, 3e-3]}, "'learning_rate' has 0.003 more than once."),
        # recipes
        ({**REAL, "learning_rate": "learned"}, "the source 'real' has no learned learning rate."),
        ({"source": "mtt", "steps": 2, "learning_rate": "learned"}, "the source 'mtt' has no learned learning rate."),
        ({**REAL, "learning_rate": 0.0}, "A recipe needs a learning_rate above 0, not 0.0."),
        ({**REAL, "learning_rate": [0.1, -0.1]}, "A recipe needs a learning_rate above 0, not -0.1."),
        ({"source": "real", "steps": 0}, "A recipe needs a steps of at least 1, not 0."),
        ({**REAL, "recipe": {"bach_size": 2}}, "There is no key 'recipe.bach_size'. Did you mean 'batch_size'?"),
        ({**REAL, "recipe": {"optimizer": "adamww"}}, "A recipe's optimizer cannot be 'adamww'. Did you mean 'adamw'?"),
        ({**REAL, "rewind_step": 2}, "rewinding to step 2 is not possible in a round of 2 steps."),
        ({**REAL, "rewind_epochs": 1}, "rewinding to step 3 is not possible in a round of 2 steps."),
        # sparsities
        ({**REAL, "sparsities": [0.8, 0.5]}, "must rise"),
        ({**REAL, "sparsities": [0.5, 1.0]}, "A sparsity must be from 0 to below 1, not 1.0."),
        ({**REAL, "sparsities": [0.0, 0.5]}, "for the dense network there is the kind 'dense'."),
        # 300 weights in two layers: 0.9951 leaves one of them.
        ({**REAL, "sparsities": [0.5, 0.9951]}, "leaves 1 of 300 weights, too few for one in each of 2 layers"),
        ({**UNTRAINED, "sparsities": [0.9951]}, "leaves 1 of 300 weights, too few for one in each of 2 layers"),
        ({**REAL, **START, "sparsities": [0.3, 0.5]}, "no sparsity lies above its 'start_sparsity' of 0.5."),
        # criteria
        ({**REAL, "criterion": "magnitud"}, "There is no pruning criterion 'magnitud'. Did you mean 'magnitude'?"),
        ({**UNTRAINED, "criterion": "4:4"}, "A pattern N:M keeps N of M weights with 1 ≤ N < M, which 4:4 does not."),
        (
            {**UNTRAINED, "criterion": "2:4", "sparsities": [0.5]},
            "the sparsity of the pattern 2:4 is its own, not one of 'sparsities'.",
        ),
        # what becomes sparse while it trains
        ({**GRADUAL, "settings": {"ends": 1}}, "There is no key 'settings.ends'. Did you mean 'end'?"),
        ({**GRADUAL, "settings": {"end": 1.2}}, "a schedule cannot end after the training."),
        ({**GRADUAL, "settings": {"begin": 0.9}}, "Masks cannot change from 0.9 of the training on until 0.8 of it."),
        ({**GRADUAL, "settings": {"every": 0}}, "not 0."),
        ({"kind": "one_shot", "settings": {"at": 1}}, "above 0 and below 1, not 1."),
        ({"kind": "rigl", "settings": {"alpha": 1.5}}, "alpha of the weights above 0 and below 1, not 1.5."),
        ({"kind": "rigl", "criterion": "2:4"}, "weights that move do not keep to the pattern 2:4."),
        ({**GRADUAL, "steps": 5}, "the key 'steps' has no meaning for the kind 'gradual'."),
        ({**GRADUAL, "source": "real"}, "the key 'source' has no meaning for the kind 'gradual'."),
        ({**REAL, "settings": {"end": 0.5}}, "the key 'settings' has no meaning for the kind 'iterative'."),
        ({"kind": "rigl", **START}, "the key 'start_sparsity' has no meaning for the kind 'rigl'."),
        (
            {"kind": "rigl", "start_from": "base", "criterion": "random"},
            "the key 'criterion' has no meaning for the kind 'rigl'.",
        ),
        ({**GRADUAL, **START, "sparsities": [0.3, 0.5]}, "no sparsity lies above its 'start_sparsity' of 0.5."),
        ({**GRADUAL, "start_from": "base"}, "'start_from' and 'start_sparsity' go together."),
        ({**GRADUAL, "start_from": "base", "start_sparsity": 0.6}, "base has no ticket of sparsity 0.6"),
        (
            {"kind": "rigl", "start_from": "base", "sparsities": [0.5, 0.7]},
            "start_from': base has no ticket of sparsity 0.7, only of 0.5, 0.8.",
        ),
        ({**GRADUAL, "start_from": "dense", "start_sparsity": 0.5}, "'dense' is no method that it can build on."),
        # names and parents
        ({**REAL, "steps": [2, 2]}, "there is another method of the name 'wrong-2'."),
        (
            {"kind": "shuffled", "of": "bas"},
            "there is no method 'bas'. Did you mean 'base'? Known: base, many-2, dense, wrong.",
        ),
        ({"kind": "shuffled", "of": "many"}, "there is no method 'many'. Did you mean 'many-2'?"),
        ({"kind": "shuffled", "of": "dense"}, "'dense' is no method that it can build on."),
        ({"kind": "shuffled", "of": "wrong"}, "'wrong' is no method that it can build on."),
        ({**REAL, "start_from": "dense", "start_sparsity": 0.5}, "'dense' is no method that it can build on."),
        ({**REAL, "start_from": "wrong", "start_sparsity": 0.5}, "'wrong' is no method that it can build on."),
        (
            {**REAL, "start_from": "base", "start_sparsity": 0.6},
            "base has no ticket of sparsity 0.6, only of 0.5, 0.8.",
        ),
    ],
)
def test_a_mistake_in_a_method_is_one_sentence_that_names_it(section: dict[str, Any], sentence: str) -> None:
    given = {"base": REAL, "many": {"source": "real", "steps": [2]}, "dense": {"kind": "dense"}, "wrong": section}
    with pytest.raises(UserError) as caught:
        methods(given, sets={"mtt": ready_made()})
    told = str(caught.value)
    assert told.startswith("'methods.wrong")
    assert sentence in told
    assert "\n" not in told


def test_a_method_without_any_learning_rate() -> None:
    with pytest.raises(
        UserError, match=r"'methods\.x': a method needs a 'learning_rate', of its own or in 'round_recipe'"
    ):
        methods({"x": REAL}, round_recipe={"learning_rate": None})


@pytest.mark.parametrize("key", ["steps", "epochs"])
def test_the_length_of_a_round_is_no_part_of_the_common_recipe(key: str) -> None:
    with pytest.raises(UserError, match=f"'{key}' stands beside 'recipe', not in it"):
        methods({"x": REAL}, round_recipe={key: 5})


def test_methods_may_not_start_from_each_other_in_a_circle() -> None:
    x = {**REAL, "start_from": "y", "start_sparsity": 0.5}
    y = {**REAL, "start_from": "x", "start_sparsity": 0.6}
    with pytest.raises(UserError, match="is no method that it can build on"):
        methods({"x": x, "y": y}, sparsities=[0.5, 0.6, 0.7, 0.8])


def test_names_of_two_families_may_not_meet() -> None:
    with pytest.raises(UserError, match=r"'methods\.x-5': there is another method of the name 'x-5'"):
        methods({"x": {"source": "real", "steps": [5]}, "x-5": REAL})


def test_controls_are_of_tickets_that_were_found_and_not_of_controls() -> None:
    with pytest.raises(UserError, match=r"'methods\.z': 'y' is no method that it can build on"):
        methods({"x": REAL, "y": {"kind": "shuffled", "of": "x"}, "z": {"kind": "reinitialised", "of": "y"}})


def test_a_combination_goes_on_from_rounds_not_from_an_untrained_mask() -> None:
    with pytest.raises(UserError, match="'x' is no method that it can build on"):
        methods({"x": UNTRAINED, "y": {**REAL, "start_from": "x", "start_sparsity": 0.5}})


def test_a_combination_of_a_combination_is_one() -> None:
    found = methods(
        {
            "x": REAL,
            "y": {**REAL, "start_from": "x", "start_sparsity": 0.5},
            "z": {**REAL, "start_from": "y", "start_sparsity": 0.6},
        },
        sparsities=[0.5, 0.6, 0.7],
    )
    assert [method.sparsities for method in found.values()] == [(0.5, 0.6, 0.7), (0.6, 0.7), (0.7,)]


def test_a_method_may_not_be_called_like_the_final_training() -> None:
    with pytest.raises(UserError, match=r"'methods\.retrain': a method cannot have the name 'retrain'"):
        methods({"retrain": REAL})


def test_a_method_that_an_override_has_set_to_null_is_left_out() -> None:
    assert list(methods({"x": REAL, "y": None, "z": REAL})) == ["x", "z"]


@pytest.mark.parametrize("key", ["include", "exclude"])
def test_a_scope_that_matches_nothing_is_named(key: str) -> None:
    with pytest.raises(UserError, match=r"the pattern 'clasifier\*', which matches no weight of the model"):
        methods({"x": REAL}, scope={key: ["clasifier*"]})


def test_sparsities_are_possible_within_the_scope() -> None:
    with pytest.raises(UserError, match="leaves 0 of 108 weights"):
        methods({"x": {**REAL, "sparsities": [0.996]}}, scope={"include": ["blocks.*"]})


def test_a_pattern_found_iteratively_takes_one_round_or_is_refused() -> None:
    from dp_core.pruning import schedule_through

    try:
        found = methods({"x": {**REAL, "criterion": "2:4", "prune_fraction": 0.2}})["x"]
    except UserError:
        return
    assert len(schedule_through(found.sparsities, found.prune_fraction)) == 2


def test_an_empty_list_of_steps_is_a_mistake() -> None:
    with pytest.raises(UserError):
        methods({"x": {"source": "real", "steps": []}})
