"""Retraining by the several methods: the same weights to start from, the same sparsity in the end, the same cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.errors import UserError
from dp_core.pruning import Mask, Ticket
from dp_core.pruning.sparse_training import Gradual, SparseRigL
from dp_core.training import Recipe
from tests.trainables.driving import (
    RETRAINING,
    candidate,
    lasting,
    retraining,
    retraining_context,
    rows,
    screening,
    screening_context,
)
from trainables.retraining.beginning import beginning, recipe_of
from trainables.retraining.method import RetrainingMethod
from trainables.retraining.trained_model import TrainedModel

RECIPE = replace(RETRAINING, epochs=12.0)  # 48 images in batches of 20: 29 steps
EPOCHS = 12


@pytest.fixture(scope="module")
def ticket(tmp_path_factory: pytest.TempPathFactory) -> Ticket:
    folder = tmp_path_factory.mktemp("ticket")
    trial = screening(screening_context(), candidate())
    for _ in rows(trial):
        pass
    trial.save(str(folder))
    return Ticket.load(folder / "ticket")


def method(given: Any, **changes: Any) -> RetrainingMethod:
    return replace(RetrainingMethod.parse(RECIPE, given, "retrain.method"), **changes)


def trained(ticket: Ticket, given: RetrainingMethod, folder: Path, **job: Any) -> tuple[list[Any], TrainedModel]:
    context = retraining_context({0: ticket}, epochs=EPOCHS, methods={given.key: given})
    trial = retraining(context, method=given.key, **job)
    found = [lasting(row) for row in rows(trial)]
    trial.save(str(folder))
    return found, TrainedModel.load(folder / "model")


def kept_of(model: TrainedModel, ticket: Ticket) -> Mask:
    return Mask({name: model.weights[name] != 0 for name in ticket.mask})


@pytest.mark.parametrize(
    "given",
    [
        "gradual",
        {"name": "gradual", "end": 0.5, "every": 2, "criterion": "magnitude_layerwise"},
        {"name": "gradual", "criterion": "snip"},
        {"name": "one_shot", "at": 0.4},
        "rigl",
        {"name": "rigl", "criterion": "random"},
        {"name": "rigl", "criterion": "ticket", "alpha": 0.5, "every": 3},
    ],
    ids=str,
)
def test_a_network_ends_as_sparse_as_its_ticket_by_another_mask(ticket: Ticket, given: Any, tmp_path: Path) -> None:
    chosen = method(given)
    found, model = trained(ticket, chosen, tmp_path)
    kept = kept_of(model, ticket)
    assert kept.total - kept.kept == 240  # of 300, as the ticket
    assert model.results["sparsity"] == pytest.approx(0.8)
    assert any(not torch.equal(kept[name], ticket.mask[name]) for name in kept)
    assert found[-1]["status"] == "finished"
    assert len(found) == EPOCHS
    assert model.results["parameters_left"] == model.results["parameters"] - 240
    # Per image: 3×3 kernels at 8×8 places, and the linear layer, two FLOPs a kept weight and place.
    first, second = kept.values()
    assert model.results["flops_remaining"] == 2 * (64 * int(first.sum()) + int(second.sum()))
    assert RetrainingMethod.of_card(json.loads(json.dumps(model.results))) == chosen


def test_all_begin_with_the_weights_of_the_rewind_point(ticket: Ticket) -> None:
    for given, zeros in (("ticket", 240), ("gradual", 0), ("one_shot", 0), ("rigl", 240)):
        model, mask = beginning(method(given), ticket, seed=4)
        assert mask.total - mask.kept == zeros
        for name, value in model.state_dict().items():
            expected = ticket.weights[name]
            assert torch.equal(value, expected * mask[name] if name in mask else expected)
    drawn = [beginning(method("rigl"), ticket, seed=seed)[1] for seed in (4, 4, 5)]
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert not all(torch.equal(drawn[0][name], drawn[2][name]) for name in drawn[0])
    _, own = beginning(method({"name": "rigl", "criterion": "ticket"}), ticket, seed=4)
    assert all(torch.equal(own[name], ticket.mask[name]) for name in own)


@pytest.mark.parametrize("given", ["ticket", {"name": "rigl", "criterion": "ticket"}], ids=str)
def test_what_has_the_tickets_mask_is_shorter_by_what_that_has_cost(ticket: Ticket, given: Any, tmp_path: Path) -> None:
    spent = ticket.history[-1]["image_gradients"]
    assert spent > 20
    alone, among = method(given), method(given, screening_counts=True)
    _, whole = trained(ticket, alone, tmp_path / "alone")
    found, shorter = trained(ticket, among, tmp_path / "among")
    assert whole.results["image_gradients"] == 29 * 20
    assert shorter.results["image_gradients"] == (29 - round(spent / 20)) * 20
    assert len(found) == EPOCHS  # which are shorter, too
    assert found[-1]["status"] == "finished"
    assert alone.key != among.key
    assert RetrainingMethod.of_card(shorter.results) == among


def test_a_screening_that_leaves_nothing_is_told(ticket: Ticket) -> None:
    among = replace(method("ticket", screening_counts=True), recipe=replace(RETRAINING, epochs=1.0))
    dear = replace(ticket, history=[{"image_gradients": 1000}])
    with pytest.raises(UserError, match=r"cost 1,000 image-gradients of the 40 that there are in all\."):
        recipe_of(among, dear, 48)


@pytest.mark.parametrize("given", ["gradual", {"name": "rigl", "every": 2}], ids=str)
@pytest.mark.parametrize("epochs", [2, 7])
def test_an_interrupted_training_goes_on_with_its_mask(ticket: Ticket, given: Any, epochs: int, tmp_path: Path) -> None:
    chosen = method(given)
    expected_rows, expected = trained(ticket, chosen, tmp_path / "whole")
    context = retraining_context({0: ticket}, epochs=EPOCHS, methods={chosen.key: chosen})
    stopped = retraining(context, method=chosen.key)
    for _ in range(epochs):
        stopped.train()
    stopped.save(str(tmp_path / "half"))
    again = retraining(context, method=chosen.key)
    again.restore(str(tmp_path / "half"))
    found = [lasting(row) for row in rows(again)]
    again.save(str(tmp_path / "end"))
    model = TrainedModel.load(tmp_path / "end" / "model")
    assert found == expected_rows[epochs:]
    assert all(torch.equal(model.weights[name], value) for name, value in expected.weights.items())


def test_methods_are_told_apart_and_that_of_tickets_has_the_name_it_always_had() -> None:
    plain = RetrainingMethod(Recipe(learning_rate=0.1, epochs=20.0))
    assert plain.key == "20epochs-" + plain.key[-6:]
    assert RetrainingMethod.parse(plain.recipe, "ticket", "x") == plain
    others = [
        RetrainingMethod.parse(plain.recipe, given, "x")
        for given in (
            "gradual",
            {"name": "gradual", "end": 0.9},
            "one_shot",
            "rigl",
            {"name": "rigl", "criterion": "ticket"},
        )
    ]
    assert len({each.key for each in (plain, *others)}) == 6
    assert others[0].key.startswith("20epochs-gradual-")
    assert others[0] == RetrainingMethod(plain.recipe, "gradual", Gradual(), "magnitude")
    assert others[3] == RetrainingMethod(plain.recipe, "rigl", SparseRigL(), "random_erk")
    assert [each.has_ticket_mask for each in (plain, *others)] == [True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("gradul", "'retrain.method': there is no method 'gradul'. Did you mean 'gradual'?"),
        ({"end": 0.5}, "'retrain.method': there is no method 'None'. Known: ticket, gradual, one_shot, rigl."),
        ({"name": "gradual", "ends": 0.5}, "There is no key 'retrain.method.ends'. Did you mean 'end'?"),
        ({"name": "gradual", "end": 1.5}, "a schedule cannot end after the training"),
        ({"name": "gradual", "criterion": "magnitud"}, "There is no pruning criterion 'magnitud'."),
        ({"name": "gradual", "criterion": "2:4"}, "the pattern 2:4 has a sparsity of its own"),
        ({"name": "ticket", "end": 0.5}, "the method 'ticket' has no settings."),
        ({"name": "one_shot", "at": 0}, "above 0 and below 1, not 0"),
        ({"name": "rigl", "criterion": "snip"}, "rigl starts from random_erk, random or the ticket's mask (ticket)"),
        ({"name": "rigl", "alpha": 0}, "alpha of the weights above 0 and below 1, not 0"),
    ],
)
def test_a_mistake_is_one_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        method(given)
    assert sentence in str(caught.value)
