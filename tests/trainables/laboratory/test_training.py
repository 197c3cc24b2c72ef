"""What a ticket is worth: one training on real images, one look at the test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.data import ImageDataset
from dp_core.pruning import Ticket
from dp_core.training import Training
from tests.trainables.driving import standardised, tiny_logits
from tests.trainables.laboratory.comparisons import (
    DENSE,
    NOTHING,
    find,
    laboratory,
    method,
    ticket,
    train,
    untouchable,
)
from trainables.laboratory import training
from trainables.laboratory.context import Laboratory
from trainables.trials.shared_dataset import SharedDataset

Prepared = Callable[..., Laboratory]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """Return a function that makes a comparison whose tickets have been found."""

    def of(**changes: Any) -> Laboratory:
        lab = laboratory(tmp_path, [DENSE, method("imp")], **changes)
        find(lab, "dense")
        find(lab, "imp")
        return lab

    return of


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that every training of this test is put into."""
    made: list[Any] = []

    def remembered(*arguments: Any, **settings: Any) -> Any:
        made.append(Training(*arguments, **settings))
        return made[-1]

    monkeypatch.setattr(training, "Training", remembered)
    return made


@pytest.mark.parametrize(("name", "sparsity", "zeros"), [("dense", 0.0, 0), ("imp", 0.75, 225)])
def test_accuracies_are_those_of_the_trained_network(
    prepared: Prepared, trained: list[Any], name: str, sparsity: float, zeros: int
) -> None:
    lab = prepared()
    found = train(lab, name, sparsity)
    weights = trained[0].model.state_dict()
    for split, shared in (("validation", lab.validation), ("test", lab.test)):
        images = shared.open()
        logits = tiny_logits(weights, standardised(images.images)).double()
        right = int((logits.argmax(1) == images.labels).sum())
        assert found[f"{split}_accuracy"] == right / len(images)
        own = logits.gather(1, images.labels[:, None]).squeeze(1)
        loss = float((logits.logsumexp(1) - own).mean())
        assert found[f"{split}_loss"] == pytest.approx(loss, rel=1e-5)
    assert found["status"] == "finished"
    assert found["train_image_gradients"] == 9 * 16  # three passes over 48 images
    pruned = sum(int((weights[key] == 0).sum()) for key in ("blocks.0.weight", "classifier.weight"))
    assert pruned == zeros
    assert found["sparsity"] == zeros / 300


def test_layer_densities_are_the_tickets(prepared: Prepared) -> None:
    lab = prepared()
    found = train(lab, "imp", 0.8)
    mask = ticket(lab, "imp", 0.8).mask
    counts = {name: int(kept.sum()) for name, kept in mask.items()}
    assert sum(counts.values()) == 60
    assert found["layer_densities"] == [
        {"name": "blocks.0.weight", "density": pytest.approx(counts["blocks.0.weight"] / 108)},
        {"name": "classifier.weight", "density": pytest.approx(counts["classifier.weight"] / 192)},
    ]


class Counting(SharedDataset):
    """Counts in a file how often it is looked at."""

    def open(self) -> ImageDataset:
        looks = Path(self.digest)
        looks.write_text(looks.read_text() + "x" if looks.exists() else "x")
        return super().open()


def test_the_test_images_are_looked_at_once(prepared: Prepared, tmp_path: Path) -> None:
    lab = prepared()
    counter = tmp_path / "looks"
    test = Counting(lab.test.images, lab.test.labels, lab.test.class_names, str(counter))
    stability = replace(NOTHING, barrier_at=(0.75,), eigenvalue_at=(0.75,))
    train(prepared(test=test, stability=stability), "imp", 0.75)
    assert counter.read_text() == "x"


def test_what_is_measured_beside_accuracy_is_measured_where_it_is_asked_for(prepared: Prepared) -> None:
    lab = prepared(stability=replace(NOTHING, barrier_at=(0.75,), eigenvalue_at=(0.5,)))
    assert "path_errors" in train(lab, "imp", 0.75)
    assert "top_eigenvalue" in train(lab, "imp", 0.5)
    neither = train(lab, "imp", 0.8)
    assert not {"path_errors", "top_eigenvalue"} & neither.keys()


def test_the_barrier_lies_between_two_trainings_in_different_orders(prepared: Prepared, trained: list[Any]) -> None:
    lab = prepared(stability=replace(NOTHING, barrier_at=(0.75,)))
    found = train(lab, "imp", 0.75)
    one, other = (made.model.state_dict() for made in trained)
    validation = lab.validation.open()
    assert found["positions"] == [0, 0.25, 0.5, 0.75, 1]
    errors, losses = [], []
    for position in found["positions"]:
        weights = {name: torch.lerp(one[name], other[name], position) for name in one}
        logits = tiny_logits(weights, standardised(validation.images)).double()
        errors.append(1 - int((logits.argmax(1) == validation.labels).sum()) / 12)
        own = logits.gather(1, validation.labels[:, None]).squeeze(1)
        losses.append(float((logits.logsumexp(1) - own).mean()))
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
    assert found["path_errors"] == pytest.approx(errors)
    assert found["path_losses"] == pytest.approx(losses, rel=1e-4)
    assert found["error_barrier"] == pytest.approx(max(errors) - (errors[0] + errors[-1]) / 2)
    assert found["validation_accuracy"] == pytest.approx(1 - errors[0])


def test_the_top_eigenvalue_is_that_of_the_hessian_over_the_kept_weights(
    prepared: Prepared, trained: list[Any]
) -> None:
    lab = prepared(stability=replace(NOTHING, eigenvalue_at=(0.8,), images=48))
    found = train(lab, "imp", 0.8)
    weights = trained[0].model.state_dict()
    images = lab.train.open()
    pixels, labels = standardised(images.images).double(), images.labels
    names, mask = list(weights), ticket(lab, "imp", 0.8).mask
    kept = torch.cat([mask.get(name, torch.ones_like(weights[name])).flatten() for name in names])

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split([weights[name].numel() for name in names])
        shaped = {name: part.view(weights[name].shape) for name, part in zip(names, parts, strict=True)}
        return torch.nn.functional.cross_entropy(tiny_logits(shaped, pixels), labels)

    flat = torch.cat([weights[name].flatten() for name in names]).double()
    hessian = torch.autograd.functional.hessian(loss, flat)
    assert isinstance(hessian, torch.Tensor)
    free = kept.bool().nonzero().squeeze(1)
    eigenvalues = torch.linalg.eigvalsh(hessian[free][:, free])
    largest = eigenvalues[eigenvalues.abs().argmax()]
    assert found["top_eigenvalue"] == pytest.approx(float(largest), rel=0.02)


def test_a_network_at_chance_is_not_trained_to_the_end(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, [DENSE], network={"name": "tests.trainables.networks:constant"})
    find(lab, "dense")
    found = train(lab, "dense", 0.0)
    assert found["status"] == "collapsed"
    assert found["reason"] == "no better than chance on the validation images by step 7 of 9"
    assert found["test_accuracy"] == pytest.approx(1 / 3)
    assert found["train_image_gradients"] == 7 * 16


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    network = {"name": "tests.trainables.networks:diverging_later", "steps": 3}
    lab = laboratory(tmp_path, [DENSE], network=network)
    find(lab, "dense")
    found = train(lab, "dense", 0.0)
    assert found["status"] == "diverged"
    assert "test_accuracy" not in found


def test_a_ticket_is_trained_once(prepared: Prepared) -> None:
    lab = prepared()
    found = train(lab, "imp", 0.75)
    assert train(prepared(train=untouchable(lab.train)), "imp", 0.75) == found


def test_a_training_does_not_change_its_ticket(prepared: Prepared) -> None:
    lab = prepared()
    before: Ticket = ticket(lab, "imp", 0.5)
    train(lab, "imp", 0.5)
    after = ticket(lab, "imp", 0.5)
    assert all(torch.equal(before.weights[name], after.weights[name]) for name in before.weights)


def test_a_network_whose_test_loss_is_infinite_has_a_result(tmp_path: Path) -> None:
    network = {"name": "tests.trainables.networks:blind_in_evaluation"}
    lab = laboratory(tmp_path, [DENSE], network=network)
    find(lab, "dense")
    assert train(lab, "dense", 0.0)["status"] != "finished"
