from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dp_core.data.preprocessing import Standardisation
from dp_core.training import TrainingData, evaluate
from dp_core.training.evaluation import evaluation_mode
from tests.dp_core.small import CLASSES, SHAPE, copy_of, random_data, same, small_model


@pytest.mark.parametrize("batch_size", [1, 7, 20, 500])
def test_accuracy_and_loss_equal_those_worked_out_by_numpy(batch_size: int) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (20, *SHAPE), dtype=np.uint8)
    labels = draw.integers(0, CLASSES, 20)
    linear = nn.Linear(36, CLASSES)
    data = TrainingData(torch.from_numpy(pixels), torch.from_numpy(labels), Standardisation((0.4,), (0.2,)))
    found = evaluate(nn.Sequential(nn.Flatten(), linear), data, batch_size=batch_size, precision="float32")

    x = (pixels.reshape(20, 36) / 255 - 0.4) / 0.2
    logits = x @ linear.weight.detach().double().numpy().T + linear.bias.detach().double().numpy()
    log_likelihoods = logits[np.arange(20), labels] - np.log(np.exp(logits).sum(1))
    assert found.accuracy == np.mean(logits.argmax(1) == labels)
    assert found.loss == pytest.approx(-log_likelihoods.mean(), rel=1e-5)
    assert found.predicted_classes == len(set(logits.argmax(1)))


def test_a_network_that_always_says_the_same_is_noticed() -> None:
    linear = nn.Linear(36, CLASSES)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    found = evaluate(nn.Sequential(nn.Flatten(), linear), random_data(21))
    assert (found.accuracy, found.predicted_classes) == (1 / 3, 1)


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_uses_running_statistics_and_changes_neither_network_nor_mode(training: bool) -> None:
    model, data = small_model("batch"), random_data()
    model.train()(data.images)  # so that the running statistics are not those of a fresh network
    model.train(training)
    before = copy_of(model)
    whole = evaluate(model, data, batch_size=20, precision="float32")
    single = evaluate(model, data, batch_size=1, precision="float32")
    assert model.training is training
    assert same(copy_of(model), before)
    assert all(p.grad is None for p in model.parameters())
    assert single.loss == pytest.approx(whole.loss, rel=1e-5)  # batch statistics would depend on the batches


def test_modules_that_were_frozen_in_evaluation_mode_stay_there_even_after_an_error() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    model.train()
    model[0].eval()

    def fail_inside() -> None:
        with evaluation_mode(model):
            assert not any(module.training for module in model.modules())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert [model.training, model[0].training, model[1].training] == [True, False, True]
