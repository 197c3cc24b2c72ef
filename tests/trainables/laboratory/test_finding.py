"""Tickets of each kind of method, what they share, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dp_core.pruning import Mask, Scope, Ticket
from tests.dp_core.small import same
from tests.trainables.driving import CLASSES, SHAPE
from tests.trainables.laboratory.comparisons import (
    DENSE,
    DISTILLED,
    TARGETS,
    ZEROS,
    find,
    laboratory,
    method,
    train,
    untouchable,
    untrained,
)
from trainables.laboratory import finding, rounds
from trainables.laboratory.context import Laboratory
from trainables.trials.shared_dataset import SharedDataset


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    return laboratory(
        tmp_path,
        [
            DENSE,
            method("imp"),
            method("rewound", rewind_step=1),
            DISTILLED,
            method("subset", source="subset", images_per_class=3),
            method("combined", parent="distilled", start_sparsity=0.5, sparsities=(0.75, 0.8)),
            untrained("random"),
            untrained("random_erk"),
            untrained("snip"),
            untrained("fresh", "reinitialised", parent="imp"),
            untrained("shuffled", "shuffled", parent="imp"),
            method("n_of_m", criterion="1:2", sparsities=(0.32,)),
        ],
    )


def zeros(ticket: Ticket) -> int:
    return sum(int((~kept).sum()) for kept in ticket.mask.values())


def kept_by_layer(mask: Mask) -> list[int]:
    return [int(kept.sum()) for kept in mask.values()]


@pytest.mark.parametrize("name", ["imp", "rewound", "distilled", "subset", "random", "random_erk", "snip"])
def test_there_is_a_ticket_at_every_target_of_exactly_that_sparsity(lab: Laboratory, name: str) -> None:
    found = find(lab, name)
    assert found.result["status"] == "finished"
    assert [zeros(found.tickets[target]) for target in TARGETS] == list(ZEROS)


@pytest.mark.parametrize("name", ["imp", "rewound", "distilled", "subset", "combined"])
def test_iterative_tickets_nest_and_share_their_weights(lab: Laboratory, name: str) -> None:
    find(lab, "distilled")
    tickets = list(find(lab, name).tickets.values())
    for outer, inner in pairwise(tickets):
        assert all(bool((outer.mask[key] | ~inner.mask[key]).all()) for key in inner.mask)
        assert same(dict(outer.weights), dict(inner.weights))


def test_every_method_starts_from_the_same_weights(lab: Laboratory) -> None:
    names = ("dense", "imp", "distilled", "subset", "random", "snip", "shuffled")
    found = [next(iter(find(lab, name).tickets.values())).weights for name in names]
    untouched = dict(lab.network("tiny", 0, torch.device("cpu")).state_dict())
    assert all(same(dict(weights), untouched) for weights in found)
    combined = find(lab, "combined").tickets[0.75]
    for name, kept in combined.mask.items():  # what its parent's mask has removed does not matter
        assert torch.equal(combined.weights[name][kept], untouched[name][kept])


def test_every_seed_has_its_own_weights(lab: Laboratory) -> None:
    one, other = (find(lab, "dense", seed).tickets[0.0].weights["classifier.weight"] for seed in (0, 1))
    assert not torch.equal(one, other)


def test_the_dense_ticket_keeps_everything_and_costs_nothing(lab: Laboratory) -> None:
    found = find(lab, "dense")
    assert zeros(found.tickets[0.0]) == 0
    (cost,) = found.result["tickets"]
    assert (cost["rounds"], cost["image_gradients"]) == (0, 0)


def test_a_ticket_rewound_to_a_step_starts_where_training_was_at_that_step(lab: Laboratory) -> None:
    rewound = find(lab, "rewound").tickets[0.5].weights
    start = find(lab, "dense").tickets[0.0].weights
    assert all(not torch.equal(rewound[name], start[name]) for name in start)  # biases have moved, too


@pytest.mark.parametrize(
    ("name", "costs"),
    [
        ("imp", [2 * 16, 4 * 16, 6 * 16]),  # rounds × 2 steps × 16 images
        ("rewound", [2 * 16, 3 * 16, 4 * 16]),  # later rounds have one step less to do
        ("distilled", [2 * 6, 4 * 6, 6 * 6]),  # 2 images of each of 3 classes are a whole batch
        ("subset", [2 * 9, 4 * 9, 6 * 9]),
        ("random", [0, 0, 0]),
        ("snip", [100, 100, 100]),  # one batch of 100 each, from the dense network
    ],
)
def test_the_cost_of_a_ticket_in_image_gradients(lab: Laboratory, name: str, costs: list[int]) -> None:
    tickets = find(lab, name).result["tickets"]
    assert [cost["image_gradients"] for cost in tickets] == costs
    iterative = lab.methods["tiny"][name].kind == "iterative"
    assert [cost["rounds"] for cost in tickets] == ([1, 2, 3] if iterative else [1, 1, 1])
    assert all(cost["seconds"] > 0 for cost in tickets)


def test_costs_are_cumulative_and_written_on_every_ticket(lab: Laboratory) -> None:
    found = find(lab, "imp")
    assert [row["image_gradients"] for row in found.result["rounds"]] == [32, 64, 96]
    assert [row["sparsity"] for row in found.result["rounds"]] == pytest.approx([0, 0.5, 0.75])
    seconds = [cost["seconds"] for cost in found.result["tickets"]]
    assert seconds == sorted(seconds)
    for number, (cost, ticket) in enumerate(zip(found.result["tickets"], found.tickets.values(), strict=True), 1):
        assert ticket.provenance["cost"] == cost
        assert [row["round"] for row in ticket.history] == list(range(1, number + 1))


def test_random_masks_differ_between_seeds(lab: Laboratory) -> None:
    for name in ("random", "random_erk"):
        one, other = (find(lab, name, seed).tickets[0.5].mask for seed in (0, 1))
        assert any(not torch.equal(one[key], other[key]) for key in one)


def test_a_random_subset_differs_between_seeds_and_not_between_methods(lab: Laboratory) -> None:
    subset = lab.methods["tiny"]["subset"]
    images = {
        seed: lab.data(subset, lab.cell_seed("tiny", seed), torch.device("cpu"))[0].batches(9, 0, torch.device("cpu"))(
            0
        )[0]
        for seed in (0, 1)
    }
    again = lab.data(subset, lab.cell_seed("tiny", 0), torch.device("cpu"))[0].batches(9, 0, torch.device("cpu"))(0)[0]
    assert torch.equal(images[0], again)
    assert not torch.equal(images[0], images[1])


def test_reinitialised_is_the_same_mask_on_other_weights(lab: Laboratory) -> None:
    parent, control = find(lab, "imp"), find(lab, "fresh")
    assert list(control.tickets) == list(parent.tickets)
    for target, ticket in control.tickets.items():
        assert same(dict(ticket.mask), dict(parent.tickets[target].mask))
        weights = parent.tickets[target].weights
        assert not torch.equal(ticket.weights["classifier.weight"], weights["classifier.weight"])
    assert control.result["tickets"] == parent.result["tickets"]


def test_shuffled_keeps_layer_densities_and_weights_alone(lab: Laboratory) -> None:
    parent, control = find(lab, "imp"), find(lab, "shuffled")
    for target, ticket in control.tickets.items():
        original = parent.tickets[target]
        assert kept_by_layer(ticket.mask) == kept_by_layer(original.mask)
        assert all(not torch.equal(ticket.mask[name], original.mask[name]) for name in original.mask)
        assert same(dict(ticket.weights), dict(original.weights))


def test_a_combination_goes_on_from_its_parents_mask_and_pays_for_it(lab: Laboratory) -> None:
    parent, found = find(lab, "distilled"), find(lab, "combined")
    start = parent.tickets[0.5].mask
    for ticket in found.tickets.values():
        assert all(bool((start[name] | ~ticket.mask[name]).all()) for name in start)
    assert found.result["rounds"][0]["sparsity"] == 0.5
    # One distilled round of 2 × 6, and 2 × 16 for each of its own.
    assert [cost["image_gradients"] for cost in found.result["tickets"]] == [12 + 32, 12 + 64]
    assert [row["image_gradients"] for row in found.result["rounds"]] == [12 + 32, 12 + 64]
    assert found.result["tickets"][0]["seconds"] > parent.result["tickets"][0]["seconds"]


def test_a_scope_is_kept_to(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, [method("imp"), untrained("random")], scope=Scope(exclude=("classifier.*",)))
    for name in ("imp", "random"):
        masks = [ticket.mask for ticket in find(lab, name).tickets.values()]
        assert [list(mask) for mask in masks] == [["blocks.0.weight"]] * 3
        assert [mask.total - mask.kept for mask in masks] == [54, 81, 86]  # of 108


def test_no_search_looks_at_a_test_image(lab: Laboratory) -> None:
    blind = laboratory(lab.folder, lab.methods["tiny"].values(), test=untouchable(lab.test))
    for name in ("imp", "distilled", "combined", "random", "snip", "shuffled"):
        assert find(blind, name).result["status"] == "finished"


def test_what_is_found_is_not_looked_for_again(lab: Laboratory) -> None:
    for name in ("dense", "imp", "snip", "shuffled"):
        find(lab, name)
    blind = laboratory(lab.folder, lab.methods["tiny"].values(), train=untouchable(lab.train))
    for name in ("dense", "imp", "snip", "shuffled"):
        find(blind, name)


def test_equal_methods_find_equal_tickets_whatever_they_are_called(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, [method("one"), method("other")])
    one, other = find(lab, "one"), find(lab, "other")
    for target in TARGETS:
        assert same(dict(one.tickets[target].mask), dict(other.tickets[target].mask))
    accuracies = [train(lab, name, 0.75)["test_loss"] for name in ("one", "other")]
    assert accuracies[0] == accuracies[1]


@dataclass(frozen=True)
class ClassifierFirst:
    """Removes the last layer before anything else: of its 192 weights all are gone above a sparsity of 0.64."""

    image_gradients = 0

    def __call__(self, model: nn.Module, mask: Mask, sparsity: float, generator: object, examples: object) -> Mask:
        wanted = round(sparsity * mask.total)
        kept: dict[str, Tensor] = {}
        for name in reversed(list(mask)):
            flat = torch.ones(mask[name].numel(), dtype=torch.bool)
            flat[: max(wanted, 0)] = False
            wanted -= flat.numel()
            kept[name] = flat.view(mask[name].shape)
        return Mask({name: kept[name] for name in mask})


@pytest.mark.parametrize("name", ["imp", "random"])
def test_layer_collapse_ends_a_search(lab: Laboratory, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds if name == "imp" else finding, "criterion_named", lambda criterion: ClassifierFirst())
    found = find(lab, name)
    assert found.result["status"] == "collapsed"
    assert found.result["reason"].endswith("layer collapse: no weight left in classifier.weight")
    assert [zeros(ticket) for ticket in found.tickets.values()] == [150]
    assert list(found.tickets) == [0.5]
    assert not list((lab.folder / "tickets").rglob("75"))


def test_controls_of_a_search_that_collapsed_have_the_tickets_that_it_has(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "criterion_named", lambda criterion: ClassifierFirst())
    find(lab, "imp")
    found = find(lab, "shuffled")
    assert (found.result["status"], list(found.tickets)) == ("collapsed", [0.5])


def test_a_combination_whose_start_was_never_found_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    combined = method("combined", parent="imp", start_sparsity=0.75, sparsities=(0.8,))
    lab = laboratory(tmp_path, [method("imp"), combined])
    monkeypatch.setattr(rounds, "criterion_named", lambda criterion: ClassifierFirst())
    find(lab, "imp")
    found = find(lab, "combined")
    assert (found.result["status"], found.tickets) == ("collapsed", {})
    assert found.result["reason"].startswith("imp, which it starts from, ended before: layer collapse")


def test_a_healthy_network_is_not_taken_for_dead_where_the_data_are_sorted_by_class(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, [method("imp")])
    order = lab.validation.labels.argsort(kind="stable")  # as an image folder is read
    images, labels = lab.validation.images[order], lab.validation.labels[order]
    sorted_by_class = SharedDataset(images, labels, lab.validation.class_names, lab.validation.digest)
    lab = laboratory(tmp_path, [method("imp")], validation=sorted_by_class, round_images=4)
    assert find(lab, "imp").result["status"] == "finished"


def test_a_search_of_a_network_at_chance_is_stopped_after_two_rounds(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, [method("imp")], network={"name": "tests.trainables.networks:constant"})
    found = find(lab, "imp")
    assert found.result["status"] == "collapsed"
    assert found.result["reason"] == "no better than chance on the validation images in two rounds running"
    assert [row["at_chance"] for row in found.result["rounds"]] == [True, True]
    assert [row["validation_accuracy"] for row in found.result["rounds"]] == pytest.approx([1 / 3, 1 / 3])
    assert list(found.tickets) == [0.5]


def test_a_search_that_diverges_keeps_the_tickets_that_it_found(tmp_path: Path) -> None:
    network = {"name": "tests.trainables.networks:diverging_later", "steps": 3}
    lab = laboratory(tmp_path, [method("imp")], network=network)
    found = find(lab, "imp")
    assert found.result["status"] == "diverged"
    assert list(found.tickets) == [0.5]
    assert [row["status"] for row in found.result["rounds"]] == ["finished", "diverged"]
    assert found.result["rounds"][1]["train_loss"] is None


def test_a_ticket_says_where_it_comes_from(lab: Laboratory) -> None:
    ticket = find(lab, "distilled", 1).tickets[0.75]
    assert (ticket.input_shape, ticket.classes) == (SHAPE, len(CLASSES))
    assert ticket.provenance["method"]["method"] == "distilled"
    assert ticket.provenance["distiller"] == {"distiller": {"method": "by hand"}}
    assert (ticket.provenance["network"], ticket.provenance["seed"]) == ("tiny", 1)
    assert ticket.provenance["train_digest"] == lab.train.digest
