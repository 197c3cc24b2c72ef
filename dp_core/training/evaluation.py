"""Accuracy and loss of a network on labelled images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from dp_core.training.data import TrainingData
from dp_core.training.network import Network
from dp_core.training.precision import Precision


@dataclass(frozen=True)
class Evaluation:
    """Accuracy in [0, 1], mean cross-entropy in nats, and how many different classes were predicted."""

    accuracy: float
    loss: float
    predicted_classes: int


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode; in the end every module goes back to the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def evaluate(
    model: nn.Module, data: TrainingData, *, batch_size: int = 500, precision: Precision = "auto"
) -> Evaluation:
    """Evaluate `model`, in evaluation mode, on all of `data` (hard labels, same device); leaves its mode as it was."""
    network = Network(model, precision=precision)
    logits = []
    with evaluation_mode(model), torch.inference_mode():
        network.train(False)
        for start in range(0, len(data), batch_size):
            images, _ = data.batch(slice(start, start + batch_size))
            logits.append(network(images))
    outputs = torch.cat(logits)
    predicted = outputs.argmax(1)
    return Evaluation(
        accuracy=float((predicted == data.labels).double().mean()),
        loss=float(F.cross_entropy(outputs.double(), data.labels)),
        predicted_classes=int(predicted.unique().numel()),
    )
