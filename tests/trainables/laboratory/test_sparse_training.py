"""Methods whose masks change in the final training, what they start from, and what they spend in all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.pruning import Mask
from dp_core.pruning.sparse_training import Gradual, OneShot, SparseRigL
from dp_core.training import Training
from tests.dp_core.small import same
from tests.trainables.laboratory.comparisons import (
    CPU,
    DENSE,
    RETRAINING,
    TARGETS,
    ZEROS,
    find,
    laboratory,
    method,
    ticket,
    timeless,
    train,
    tune,
    untouchable,
    untrained,
)
from trainables.laboratory import FINAL, Cell, Job, read_result, run_job, training
from trainables.laboratory.context import Laboratory
from trainables.laboratory.method import Method
from trainables.laboratory.training import train_ticket

GRADUAL = untrained("gradual", "gradual", sparse_training=Gradual())
ONE_SHOT = untrained("one_shot", "one_shot", sparse_training=OneShot(at=0.5))
RIGL = untrained("rigl", "rigl", criterion="random_erk", sparse_training=SparseRigL(every=2, alpha=0.5))
IMP = method("imp")
SHUFFLED = untrained("shuffled", "shuffled", parent="imp")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """Return a list that every training of this test is put into."""
    made: list[Training] = []

    def remembered(*arguments: Any, **settings: Any) -> Training:
        made.append(Training(*arguments, **settings))
        return made[-1]

    monkeypatch.setattr(training, "Training", remembered)
    return made


def found(folder: Path, *methods: Method, **changes: Any) -> Laboratory:
    lab = laboratory(folder, [DENSE, *methods], **changes)
    for each in (DENSE, *methods):
        find(lab, each.name)
    return lab


def zeros(run: Training) -> int:
    return sum(int((~kept).sum()) for kept in run.mask.values())


@pytest.mark.parametrize("given", [GRADUAL, ONE_SHOT], ids=lambda given: given.name)
def test_a_network_starts_dense_and_ends_sparse(tmp_path: Path, trained: list[Training], given: Method) -> None:
    lab = found(tmp_path, given)
    for target, removed in zip(TARGETS, ZEROS, strict=True):
        start = ticket(lab, given.name, target)
        assert start.mask.sparsity == 0
        assert same(dict(start.weights), dict(ticket(lab, "dense", 0.0).weights))
        assert start.provenance["cost"]["image_gradients"] == 0
        result = train(lab, given.name, target)
        assert result["sparsity"] == removed / 300
        assert zeros(trained[-1]) == removed
        densities = {row["name"]: row["density"] for row in result["layer_densities"]}
        assert densities == Mask(trained[-1].mask).layer_densities()
        assert result["train_image_gradients"] == 9 * 16


def test_rigl_starts_as_sparse_as_it_ends(tmp_path: Path, trained: list[Training]) -> None:
    lab = found(tmp_path, RIGL, untrained("erk", criterion="random_erk"))
    start = ticket(lab, "rigl", 0.75).mask
    assert start.sparsity == 0.75
    assert same(dict(start), dict(ticket(lab, "erk", 0.75).mask))  # its control has the same random mask
    result = train(lab, "rigl", 0.75)
    assert result["sparsity"] == 0.75
    assert not same(trained[-1].mask, dict(start))
    assert Mask(trained[-1].mask).layer_densities() == start.layer_densities()


def test_it_starts_from_the_mask_of_another_method_which_counts(tmp_path: Path, trained: list[Training]) -> None:
    from_half = replace(GRADUAL, name="from_half", parent="imp", start_sparsity=0.5, sparsities=(0.75, 0.8))
    from_shuffled = replace(from_half, name="from_shuffled", parent="shuffled")
    moved = replace(RIGL, name="moved", parent="imp")
    lab = found(tmp_path, IMP, SHUFFLED, from_half, from_shuffled, moved)
    costs = {target: ticket(lab, "imp", target).provenance["cost"]["image_gradients"] for target in TARGETS}
    assert costs == {0.5: 32, 0.75: 64, 0.8: 96}
    for name, parent in (("from_half", "imp"), ("from_shuffled", "shuffled")):
        start = ticket(lab, name, 0.8)
        assert same(dict(start.mask), dict(ticket(lab, parent, 0.5).mask))
        assert start.provenance["cost"]["image_gradients"] == costs[0.5]
        assert train(lab, name, 0.8)["sparsity"] == 0.8
        ended = Mask(trained[-1].mask)
        assert all(not (kept & ~start.mask[key]).any() for key, kept in ended.items())
    for target in TARGETS:
        start = ticket(lab, "moved", target)
        assert same(dict(start.mask), dict(ticket(lab, "imp", target).mask))
        assert start.provenance["cost"]["image_gradients"] == costs[target]


def test_what_starts_from_a_ticket_that_is_not_there_ends_as_its_parent_did(tmp_path: Path) -> None:
    dead = replace(IMP, recipe=replace(IMP.round_recipe, learning_rate=1e-9), prune_fraction=0.5)
    from_late = replace(GRADUAL, name="from_late", parent="imp", start_sparsity=0.75, sparsities=(0.8,))
    moved = replace(RIGL, name="moved", parent="imp")
    lab = found(tmp_path, dead, from_late, moved)
    parent = read_result(lab.files.search(Cell("tiny", 0, "imp")))
    assert parent is not None
    assert parent["status"] == "collapsed"
    there = [cost["sparsity"] for cost in parent["tickets"]]
    assert 0.75 not in there
    for name, tickets in (("from_late", []), ("moved", there)):
        result = read_result(lab.files.search(Cell("tiny", 0, name)))
        assert result is not None
        assert result["status"] == "collapsed"
        assert [cost["sparsity"] for cost in result["tickets"]] == tickets


def test_all_methods_spend_the_same_in_all_where_masks_count(tmp_path: Path, trained: list[Training]) -> None:
    lab = found(tmp_path, IMP, GRADUAL, masks_count=True)
    budget = 9 * 16
    for name, target in (("dense", 0.0), ("gradual", 0.8), ("imp", 0.5), ("imp", 0.75), ("imp", 0.8)):
        result = train(lab, name, target)
        cost = ticket(lab, name, target).provenance["cost"]["image_gradients"]
        assert cost + result["train_image_gradients"] == budget
        assert trained[-1].total_steps == trained[-1].step == 9 - cost // 16
        assert result["status"] == "finished"


def test_weights_that_have_been_trained_are_not_paid_for_twice(tmp_path: Path, trained: list[Training]) -> None:
    """A ticket rewound to step 1 has had that step in its first round, which its mask has paid for."""
    rewound = replace(IMP, name="rewound_imp", rewind_step=1, sparsities=(0.5,))
    lab = found(tmp_path, rewound, masks_count=True)
    result = train(lab, "rewound_imp", 0.5)
    start = ticket(lab, "rewound_imp", 0.5).provenance
    assert start["start_step"] == 1
    assert start["cost"]["image_gradients"] == 32
    assert trained[-1].total_steps == 9 - 2 + 1
    assert result["status"] == "finished"


def test_a_mask_that_leaves_nothing_to_train_with_is_unaffordable(tmp_path: Path) -> None:
    dear = replace(IMP, name="dear", recipe=replace(IMP.round_recipe, steps=5))
    lab = found(tmp_path, dear, masks_count=True)
    assert train(lab, "dear", 0.5)["status"] == "finished"  # 5 of 9 steps
    result = train(lab, "dear", 0.75)
    assert result["status"] == "unaffordable"
    assert result["reason"] == "its mask has cost 160 image-gradients of the 144 that there are in all"
    assert "test_accuracy" not in result


@pytest.mark.parametrize("given", [GRADUAL, RIGL], ids=lambda given: given.name)
def test_a_training_that_was_interrupted_goes_on_with_its_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Method
) -> None:
    whole = train(found(tmp_path / "whole", given), given.name, 0.75)
    lab, cell = found(tmp_path / "stopped", given), Cell("tiny", 0, given.name, 0.75)
    monkeypatch.setattr(training, "_SAVE_EVERY", 0.0)
    steps: list[int] = []

    class Stopping(Training):
        def run(self, steps_: int | None = None) -> float:
            if len(steps) == 6:
                raise KeyboardInterrupt
            steps.append(self.step)
            return super().run(steps_)

    monkeypatch.setattr(training, "Training", Stopping)
    with pytest.raises(KeyboardInterrupt):
        train_ticket(lab, cell, CPU)
    monkeypatch.setattr(training, "Training", Training)
    assert timeless(train(lab, given.name, 0.75)) == timeless(whole)


def test_each_method_has_its_own_rate_of_the_final_training(tmp_path: Path, trained: list[Training]) -> None:
    rates = (1e30, 0.01)  # with the first every training diverges
    recipe = replace(RETRAINING, learning_rate=rates[0])
    settings: dict[str, Any] = {"recipe": recipe, "learning_rates": rates, "rate_of_each": True}
    lab = laboratory(tmp_path, [DENSE, IMP, GRADUAL], **settings)
    tune(lab, FINAL)
    for name in ("imp", "gradual"):
        run_job(replace(lab, test=untouchable(lab.test)), Job("tune_training", Cell("tiny", 0, name)))
        chosen = read_result(lab.files.training_rate("tiny", name))
        assert chosen is not None
        assert [tried["rate"] for tried in chosen["tried"]] == list(rates)
        assert chosen["learning_rate"] == 0.01
    # What is tried is the ticket of the middle sparsity, of a seed that is compared nowhere.
    alone = laboratory(tmp_path / "alone", [IMP], recipe=replace(recipe, learning_rate=0.01), learning_rates=(0.01,))
    find(alone, "imp", seed=-1)
    expected = train(alone, "imp", 0.75, seed=-1)["validation_accuracy"]
    tried = read_result(lab.files.training_rate("tiny", "imp"))
    assert tried is not None
    assert tried["tried"][1]["accuracy"] == expected
    assert not lab.files.unfinished.exists() or not list(lab.files.unfinished.rglob("*.json"))

    other = lab.files.training_rate("tiny", "gradual")
    other.write_text('{"learning_rate": 0.02}')
    for name, target, rate in (("dense", 0.0, 0.01), ("imp", 0.75, 0.01), ("gradual", 0.75, 0.02)):
        find(lab, name)
        assert train(lab, name, target)["train_learning_rate"] == rate


def test_rates_are_tried_on_a_ticket_that_leaves_something_to_train_with(tmp_path: Path) -> None:
    """Five of nine steps for the ticket of 50 %, ten for the middle one: that could not tell one rate from another."""
    dear = replace(IMP, recipe=replace(IMP.round_recipe, steps=5))
    rates = (1e30, 0.01)
    recipe = replace(RETRAINING, learning_rate=rates[0])
    settings: dict[str, Any] = {"recipe": recipe, "learning_rates": rates, "rate_of_each": True, "masks_count": True}
    lab = laboratory(tmp_path, [DENSE, dear], **settings)
    tune(lab, FINAL)
    run_job(lab, Job("tune_training", Cell("tiny", 0, "imp")))
    chosen = read_result(lab.files.training_rate("tiny", "imp"))
    assert chosen is not None
    assert chosen["learning_rate"] == 0.01
    assert [tried["accuracy"] > 0 for tried in chosen["tried"]] == [False, True]


def test_eigenvalues_are_those_under_the_mask_that_the_training_ended_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[Mask] = []

    def looked(model: torch.nn.Module, data: Any, *, mask: Mask) -> Any:
        masks.append(mask)
        return type("Found", (), {"value": 1.0, "converged": True})

    monkeypatch.setattr(training, "top_eigenvalue", looked)
    lab = found(tmp_path, GRADUAL)
    lab = replace(lab, stability=replace(lab.stability, eigenvalue_at=(0.75,)))
    assert train(lab, "gradual", 0.75)["top_eigenvalue"] == 1.0
    assert masks[0].sparsity == 0.75
