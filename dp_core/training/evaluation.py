"""Accuracy and loss of a network on labelled images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from dp_core.training.data import TrainingData, in_network_space
from dp_core.training.layout import Layout
from dp_core.training.network import Network
from dp_core.training.recipe import Mode, Precision


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


@contextmanager
def executed(model: nn.Module, precision: Precision, mode: Mode) -> Iterator[Network]:
    """Give `model` in the form in which it is executed, in evaluation mode; nothing is compiled.

    In the end its mode is what it was, and its memory layout: a training that goes on afterwards relies on that.
    """
    layout = Layout(model)
    network = Network(model, mode="auto" if mode == "compiled" else mode, precision=precision)
    try:
        with evaluation_mode(network.executed):
            yield network
    finally:
        layout.restore()


def evaluate(
    model: nn.Module,
    data: TrainingData,
    *,
    batch_size: int = 500,
    precision: Precision = "auto",
    mode: Mode = "auto",
) -> Evaluation:
    """Evaluate `model`, in evaluation mode, on all of `data`, which have hard labels; leaves its mode as it was.

    The model's memory layout, too: a training that goes on afterwards relies on it.

    The data may be on another device than the model: they are moved batch by batch, and no result is waited for
    before the end. `precision` and `mode` are the recipe's; nothing is compiled for an evaluation.
    """
    device = next(model.parameters()).device
    logits = []
    with executed(model, precision, mode) as network, torch.inference_mode():
        for start in range(0, len(data), batch_size):
            images = data.images[start : start + batch_size].to(device)
            if data.preprocessing is not None:
                images = in_network_space(images, data.preprocessing)
            logits.append(network(images))
    outputs = torch.cat(logits)
    labels, predicted = data.labels.to(device), outputs.argmax(1)
    return Evaluation(
        accuracy=float((predicted == labels).double().mean()),
        loss=float(F.cross_entropy(outputs.double(), labels)),
        predicted_classes=int(predicted.unique().numel()),
    )
