"""Screening, its rung of real epochs, retraining and studies judge a batch-norm network in one way, and save it so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.judging import judge
from dp_core.models import ModelSpec, build
from dp_core.pruning import IterativePruning, PruningPlan, Ticket
from dp_core.pruning.criteria import CRITERIA
from dp_core.seeds import derive_seed
from dp_core.training import Evaluation, Recipe, TrainingData, evaluate
from dp_core.training.network import unchanged_buffers
from tests.trainables.driving import (
    CLASSES,
    SHAPE,
    SPACE,
    candidate,
    dataset,
    retraining,
    retraining_context,
    rows,
    screening,
    screening_context,
    standardised,
)
from tests.trainables.laboratory.comparisons import BATCH_NORM, CPU, DENSE, find, laboratory, method, train
from trainables.retraining.trained_model import TrainedModel
from trainables.screening.ladder import LadderPlan
from trainables.screening.rungs import real_epochs

TRAIN, VALIDATION, TEST = dataset(16, 1), dataset(4, 2), dataset(5, 3)
SLOW = {"learning_rate": 0.02, "steps": 2, "mode": "eager"}


def by_hand(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return accuracy and loss on uint8 images with the norm statistics of all training images."""
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(standardised(TRAIN.images))
        logits = model.eval()(standardised(images))
    return (logits.argmax(1) == labels).double().mean().item(), F.cross_entropy(logits, labels).item()


def loss_as_trained(model: nn.Module) -> float:
    return evaluate(model, TrainingData(VALIDATION.images, VALIDATION.labels, SPACE), precision="float32").loss


def test_screening() -> None:
    proposal = candidate(model=BATCH_NORM, recipe=SLOW)
    found = list(rows(screening(screening_context(), proposal)))
    seed = derive_seed(5, "trial", 0)
    model = build(ModelSpec.from_dict(BATCH_NORM), SHAPE, len(CLASSES), seed=derive_seed(seed, "weights"))
    recipe = Recipe(**proposal["recipe"])
    plan = PruningPlan((0.0, 0.5, 0.75, 0.8), CRITERIA["magnitude"], recipe)
    pruning = IterativePruning(model, TrainingData(TRAIN.images, TRAIN.labels, SPACE), plan, seed=seed)
    for row in found:
        pruning.run_round()
        assert row["proxy_loss"] != pytest.approx(loss_as_trained(model), rel=1e-3)  # the test can tell
        with unchanged_buffers(model):
            judged = by_hand(model, VALIDATION.images, VALIDATION.labels)
        assert (row["proxy_accuracy"], row["proxy_loss"]) == pytest.approx(judged, rel=1e-4)


def test_a_rung_of_real_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(epochs=1.0, batch_size=24, learning_rate=0.02, precision="float32", mode="eager")
    context = screening_context(ladder=LadderPlan(None, (), 1, recipe))
    seen: list[nn.Module] = []
    trial = screening(context, candidate(model=BATCH_NORM, recipe=SLOW))

    def watched(model: nn.Module, *given: Any, **named: Any) -> Evaluation:
        seen.append(model)
        return judge(model, *given, **named)

    monkeypatch.setattr(real_epochs, "judge", watched)
    *_, last = rows(trial)
    judged = by_hand(seen[0], VALIDATION.images, VALIDATION.labels)
    assert (last["proxy_accuracy"], last["proxy_loss"]) == pytest.approx(judged, rel=1e-4)


@pytest.fixture(scope="module")
def ticket(tmp_path_factory: pytest.TempPathFactory) -> Ticket:
    folder = tmp_path_factory.mktemp("ticket")
    trial = screening(screening_context(), candidate(model=BATCH_NORM, recipe=SLOW))
    for _ in rows(trial):
        pass
    trial.save(str(folder))
    return Ticket.load(folder / "ticket")


def test_retraining_saves_the_statistics_that_it_was_judged_with(ticket: Ticket, tmp_path: Path) -> None:
    recipe = Recipe(epochs=1.0, batch_size=24, learning_rate=0.02, precision="float32", mode="eager")
    trial = retraining(retraining_context({0: ticket}, recipe=recipe, epochs=1))
    *_, last = rows(trial)
    trial.save(str(tmp_path))
    saved = TrainedModel.load(tmp_path / "model").build()
    norm = next(module for module in saved.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        seen = next(module for module in saved.modules() if isinstance(module, nn.Conv2d))(standardised(TRAIN.images))
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        plain = (saved(standardised(TEST.images)).argmax(1) == TEST.labels).double().mean().item()
    assert last["test_accuracy"] == pytest.approx(plain)


def test_studies(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, [DENSE, method("imp")], network=BATCH_NORM)
    (first, *_) = find(lab, "imp").result["rounds"]
    given = lab.methods["tiny"]["imp"]
    assert given.recipe is not None
    seed = lab.cell_seed("tiny", 0)
    model = lab.network("tiny", 0, CPU)
    plan = PruningPlan((0.0, 0.5), CRITERIA["magnitude"], given.recipe)
    data = TrainingData(TRAIN.images, TRAIN.labels, SPACE)
    pruning = IterativePruning(model, data, plan, seed=derive_seed(seed, "pruning"))
    pruning.run_round()
    assert first["validation_accuracy"] == pytest.approx(by_hand(model, VALIDATION.images, VALIDATION.labels)[0])
    trained: dict[str, Any] = train(lab, "imp", 0.5)
    assert trained["status"] == "finished"
    assert trained["test_accuracy"] > 0.5
