"""Replicates: means and errors against prunings that each ran alone, and what ends a trial of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dp_core.cost import CostModel
from dp_core.models import ModelSpec, build
from dp_core.pruning import (
    CRITERIA,
    Examples,
    IterativePruning,
    Mask,
    PruningPlan,
    Ticket,
    keep_highest,
    sparsity_schedule,
)
from dp_core.seeds import derive_seed
from dp_core.training import Recipe, TrainingData, evaluate
from tests.trainables.driving import (
    CLASSES,
    SHAPE,
    SPACE,
    TINY,
    candidate,
    dataset,
    lasting,
    rows,
    screening,
    screening_context,
    standardised,
    tiny_logits,
)
from tests.trainables.networks import blind_in_evaluation, constant, diverging_later
from trainables.screening.replicates import Replicates, standard_error
from trainables.screening.score import Score

# Long enough to learn something, and short and coarse enough for replicates to differ.
LEARNING = candidate(recipe={"steps": 6, "learning_rate": 0.1, "augmentation": "siamese"})
PLAN = PruningPlan(
    sparsities=sparsity_schedule(0.8, 0.5),
    criterion=CRITERIA["magnitude"],
    recipe=Recipe(steps=6, batch_size=16, learning_rate=0.1, augmentation="siamese", precision="float32"),
    rewind_step=1,
)


def alone(trial: int, count: int) -> list[IterativePruning]:
    """Return the prunings that the replicates of LEARNING are, with the seeds that they are promised."""
    own = derive_seed(5, "trial", trial)
    seeds = [own, *(derive_seed(own, "replicate", index) for index in range(1, count))]
    train = TrainingData(dataset(16, 1).images, dataset(16, 1).labels, SPACE)
    spec = ModelSpec.from_dict(TINY)
    models = [build(spec, SHAPE, len(CLASSES), seed=derive_seed(seed, "weights")) for seed in seeds]
    return [IterativePruning(model, train, PLAN, seed=seed) for model, seed in zip(models, seeds, strict=True)]


def scored(pruning: IterativePruning) -> tuple[float, float, int]:
    """Return accuracy, loss and number of predicted classes on the validation images, written out."""
    validation = dataset(4, 2)
    logits = tiny_logits(pruning.model.state_dict(), standardised(validation.images)).detach()
    loss = -logits.log_softmax(1)[torch.arange(len(logits)), validation.labels].mean()
    accuracy = float((logits.argmax(1) == validation.labels).double().mean())
    return accuracy, float(loss), len(set(logits.argmax(1).tolist()))


def flops(pruning: IterativePruning) -> int:
    kept = {name: int(tensor.sum()) for name, tensor in pruning.mask.items()}
    return 2 * (64 * kept["blocks.0.weight"] + kept["classifier.weight"])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_round_is_the_mean_of_prunings_that_ran_alone(count: int) -> None:
    trial, apart = screening(screening_context(rewind_step=1, replicates=count), LEARNING, trial=7), alone(7, count)
    accuracies_differed = False
    for row in rows(trial):
        for pruning in apart:
            pruning.run_round()
        accuracies, losses, classes = zip(*map(scored, apart), strict=True)
        accuracies_differed |= len(set(accuracies)) > 1
        factor = (row["parameters_left"] / 300) ** -0.07
        assert row["replicates"] == count
        assert row["proxy_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-12)
        assert row["score"] == pytest.approx(np.mean(accuracies) * factor, abs=1e-12)
        assert row["proxy_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert row["predicted_classes"] == min(classes)
        assert row["image_gradients"] == sum(pruning.image_gradients for pruning in apart)
        assert row["flops_remaining"] == pytest.approx(np.mean([flops(pruning) for pruning in apart]), abs=0.5)
        assert {pruning.mask.sparsity for pruning in apart} == {row["sparsity"]}
        if count == 1:
            assert row["proxy_accuracy_sem"] is row["score_sem"] is None
        else:
            error = np.std(accuracies, ddof=1) / np.sqrt(count)
            assert row["proxy_accuracy_sem"] == pytest.approx(error, abs=1e-12)
            assert row["score_sem"] == pytest.approx(error * factor, abs=1e-12)
    assert accuracies_differed == (count > 1)
    assert row["status"] == "finished"


def test_one_replicate_is_the_pruning_of_the_trials_own_seed_to_the_bit(tmp_path: Path) -> None:
    trial, (apart,) = screening(screening_context(rewind_step=1), LEARNING, trial=7), alone(7, 1)
    validation = TrainingData(dataset(4, 2).images, dataset(4, 2).labels, SPACE)
    for row in rows(trial):
        apart.run_round()
        found = evaluate(apart.model, validation, precision="float32")
        assert (row["proxy_accuracy"], row["proxy_loss"]) == (found.accuracy, found.loss)
        assert (row["flops_remaining"], row["image_gradients"]) == (flops(apart), apart.image_gradients)
    trial.save(str(tmp_path))
    ticket = Ticket.load(tmp_path / "ticket")
    assert_is_ticket_of(ticket, apart)
    assert ticket.provenance["seed"] == derive_seed(5, "trial", 7)
    told = {name: ticket.provenance[name] for name in ("replicate", "replicates", "proxy_accuracy_sem")}
    assert told == {"replicate": 1, "replicates": 1, "proxy_accuracy_sem": None}


def assert_is_ticket_of(ticket: Ticket, pruning: IterativePruning) -> None:
    assert all(torch.equal(ticket.mask[name], kept) for name, kept in pruning.mask.items())
    assert all(torch.equal(ticket.weights[name], value) for name, value in pruning.rewind_weights.items())


def test_the_ticket_is_that_of_the_replicate_that_validates_best(tmp_path: Path) -> None:
    context, chosen = screening_context(rewind_step=1, replicates=3), set()
    for number in range(4):
        trial, apart = screening(context, LEARNING, trial=number), alone(number, 3)
        *_, last = rows(trial)
        for pruning in apart:
            while not pruning.finished:
                pruning.run_round()
        accuracies = [scored(pruning)[0] for pruning in apart]
        best = accuracies.index(max(accuracies))
        chosen.add(best)
        trial.save(str(tmp_path / str(number)))
        ticket = Ticket.load(tmp_path / str(number) / "ticket")
        assert_is_ticket_of(ticket, apart[best])
        told = ticket.provenance
        assert (told["replicate"], told["replicates"]) == (best + 1, 3)
        assert all(told[name] == last[name] for name in ("proxy_accuracy", "proxy_accuracy_sem"))
        own = derive_seed(5, "trial", number)
        assert told["seed"] == (derive_seed(own, "replicate", best) if best else own)
    assert len(chosen) > 1


def test_replicates_are_part_of_what_a_worker_forgets() -> None:
    context = screening_context(replicates=2)
    reused = screening(context, candidate(), trial=0)
    reused.train()
    assert reused.reset({"trial": 1, "candidate": LEARNING, "resume_from": None})
    fresh = screening(context, LEARNING, trial=1)
    assert [lasting(row) for row in rows(reused)] == [lasting(row) for row in rows(fresh)]


class Blinking(nn.Module):
    """Answers class 0 whatever the image is in the evaluations of these numbers, from 1, and well in all others."""

    def __init__(self, blind: Sequence[int]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.linear = nn.Linear(3 * 8 * 8, len(CLASSES))
        self.blind = blind
        self.evaluations = 0

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.flatten(1))
        self.evaluations += not self.training
        if self.training or self.evaluations not in self.blind:
            return logits
        return logits + 1e6 * torch.eye(len(CLASSES))[0]


ALL_OF_CLASS_0 = torch.zeros(12, dtype=torch.int64)  # what a network that always says so gets right


def replicates_of(*models: nn.Module, labels: Tensor | None = None) -> Replicates:
    """Return replicates of networks that are not alike, which no trial has; 4 rounds to a sparsity of 4/5."""
    train, validation = dataset(16, 1), dataset(4, 2)
    recipe = Recipe(steps=2, batch_size=16, learning_rate=0.05, precision="float32")
    plan = PruningPlan(sparsity_schedule(0.8, 0.5), CRITERIA["magnitude"], recipe)
    data = TrainingData(train.images, train.labels, SPACE)
    scoring = TrainingData(validation.images, validation.labels if labels is None else labels, SPACE)
    prunings = [IterativePruning(model, data, plan, seed=seed) for seed, model in enumerate(models)]
    cost, recipe = CostModel(Blinking([]), SHAPE), Recipe(steps=1, precision="float32")
    return Replicates(prunings, Score(300, -0.07), cost, scoring, data, recipe)


def run(replicates: Replicates, rounds: int) -> tuple[str, str | None]:
    for _ in range(rounds):
        replicates.run_round()
    return replicates.status()


def test_one_that_diverges_ends_all_and_is_named() -> None:
    later = diverging_later(SHAPE, len(CLASSES), steps=3)
    found = replicates_of(Blinking([]), later, Blinking([]))
    assert run(found, 1) == ("running", None)
    assert run(found, 1) == ("diverged", "replicate 2 of 3: the loss became nan by step 2 of 2")


def test_one_that_fails_only_when_evaluated_is_named_too() -> None:
    status, reason = run(replicates_of(Blinking([]), blind_in_evaluation(SHAPE, len(CLASSES))), 1)
    assert status == "diverged"
    assert str(reason).startswith("replicate 2 of 2: the loss on held-back images is ")


def test_one_that_collapsed_counts_but_gives_no_ticket() -> None:
    found = replicates_of(constant(SHAPE, len(CLASSES)), Blinking([]), labels=ALL_OF_CLASS_0)
    assert run(found, 4) == ("finished", None)
    index, _ = found.best()
    assert index == 1
    measures = found.measures()
    assert found.predicted_classes == 1
    assert measures.proxy_accuracy < 1  # though that of the first is 1
    assert measures.proxy_accuracy_sem == pytest.approx(1 - measures.proxy_accuracy)  # of 1 and a: (1 - a) / 2


def test_it_is_over_when_all_have_collapsed() -> None:
    found = replicates_of(*(constant(SHAPE, len(CLASSES)) for _ in range(3)))
    assert run(found, 1) == ("running", None)
    status, reason = run(found, 1)
    assert status == "collapsed"
    assert reason == "all 3 replicates: the same class predicted for every validation image in two rounds running"


def test_each_is_forgiven_the_same_answer_to_every_image_once() -> None:
    found = replicates_of(Blinking([1, 3]), Blinking([2, 4]))
    for expected in ("running", "running", "running", "finished"):
        assert run(found, 1) == (expected, None)
        assert found.predicted_classes == 1


def test_layer_collapse_of_every_replicate_is_told_once() -> None:
    trial = screening(screening_context(prune_fraction=0.9, replicates=2), candidate(sparsity=0.99))
    *_, last = rows(trial)
    assert last["status"] == "collapsed"
    assert last["reason"] == "all 2 replicates: layer collapse: no weight left in classifier.weight"


class Emptying:
    """A criterion that takes the weights of the layer `first` before all others."""

    image_gradients = 0

    def __init__(self, first: str) -> None:
        self.first = first

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        scores = {name: torch.full(kept.shape, float(name != self.first)) for name, kept in mask.items()}
        return keep_highest(scores, mask, sparsity)


class Residual(nn.Module):
    """A convolution beside the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(3, 3, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return images + self.branch(images)


@pytest.mark.parametrize(
    ("layer", "status", "reason"),
    [
        ("1.branch.weight", "finished", None),
        ("0.weight", "collapsed", "layer collapse: no weight left in 0.weight"),
    ],
)
def test_a_layer_may_be_empty_beside_which_there_is_a_way(layer: str, status: str, reason: str | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 3, kernel_size=1), Residual(), Blinking([]))
    mask = Mask.ones(model)
    recipe = Recipe(steps=2, batch_size=16, learning_rate=0.01, precision="float32")
    plan = PruningPlan((0.0, mask[layer].numel() / mask.total), Emptying(layer), recipe)
    train, validation = dataset(16, 1), dataset(4, 2)
    data = TrainingData(train.images, train.labels, SPACE)
    pruning = IterativePruning(model, data, plan, seed=0)
    scoring = TrainingData(validation.images, validation.labels, SPACE)
    found = Replicates([pruning], Score(300, -0.07), CostModel(model, SHAPE), scoring, data, recipe)
    assert run(found, 1) == ("running", None)
    assert run(found, 1) == (status, reason)
    assert pruning.mask.empty_layers() == [layer]


def test_what_decides_the_ticket_and_the_next_status_is_in_the_state() -> None:
    whole, part = (replicates_of(Blinking([3, 4]), Blinking([]), labels=ALL_OF_CLASS_0) for _ in range(2))
    run(part, 3)
    resumed = replicates_of(Blinking([1]), Blinking([]), labels=ALL_OF_CLASS_0)  # the fourth is the first from here
    resumed.load_state_dict(part.state_dict())
    assert resumed.measures() == part.measures()
    assert run(whole, 4) == ("finished", None)
    assert run(resumed, 1) == whole.status()
    assert resumed.measures() == whole.measures()
    assert resumed.best()[0] == whole.best()[0] == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.3], None), ([0.2, 0.4], 0.1), ([0.1, 0.2, 0.6], 0.15275252316519467), ([0.5] * 4, 0.0)],
)
def test_standard_errors_by_hand(values: list[float], expected: float | None) -> None:
    # Of three: variance (0.2² + 0.1² + 0.3²) / 2 = 0.07, and √(0.07 / 3).
    assert standard_error(values) == (None if expected is None else pytest.approx(expected))
