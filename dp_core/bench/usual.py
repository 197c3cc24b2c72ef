"""A training loop as it is usually written, to measure others against."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.data.registry import AUGMENTATIONS
from dp_core.seeds import generator
from dp_core.training.data import TrainingData
from dp_core.training.evaluation import evaluation_mode
from dp_core.training.recipe import Recipe


class UsualLoop:
    """Eager, in float32, with images in the layout they come in and torch's optimisers as they are by default.

    It uses nothing that makes `Training` fast and does the same: batches, augmentation and updates are the same
    functions of the seed and the step. A recipe's precision, mode and schedule are not heeded: the learning rate is
    constant.
    """

    def __init__(self, model: nn.Module, data: TrainingData, recipe: Recipe, *, seed: int) -> None:
        self.model = model
        self.step = 0
        self.network: Callable[[Tensor], Tensor] = model
        self.optimizer = _stock_optimizer(model, recipe)
        self._seed = seed
        self._batches = data.batches(recipe.batch_size, seed, next(model.parameters()).device)
        self._augment = AUGMENTATIONS[recipe.augmentation]

    def prepare_step(self) -> tuple[Tensor, Tensor]:
        """Return the coming step's images, indexed, normalised and augmented, and their labels."""
        images, labels = self._batches(self.step)
        return self._augment(images, generator(self._seed, "augmentation", self.step)), labels

    def apply_gradients(self) -> None:
        """Let the optimiser make its step."""
        self.optimizer.step()

    def run(self, steps: int) -> float:
        """Do `steps` steps, at least one, and return their mean loss."""
        self.model.train()
        losses = []
        for _ in range(steps):
            images, labels = self.prepare_step()
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(images), labels)
            loss.backward()
            self.apply_gradients()
            losses.append(loss.detach())
            self.step += 1
        return float(torch.stack(losses).mean())

    def evaluate(self, data: TrainingData, batch_size: int = 500) -> float:
        """Return the accuracy on `data`."""
        correct = torch.zeros((), device=data.labels.device)
        with evaluation_mode(self.model), torch.no_grad():
            for start in range(0, len(data), batch_size):
                images, labels = data.batch(slice(start, start + batch_size))
                correct += (self.model(images).argmax(1) == labels).sum()
        return float(correct) / len(data)


def _stock_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), rate, recipe.momentum, weight_decay=decay)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(model.parameters(), rate, weight_decay=decay)
