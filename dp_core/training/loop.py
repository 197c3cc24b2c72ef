"""The one training loop: masked, resumable at any step, the same for screening and for retraining."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.data.augmentation import AUGMENTATIONS
from dp_core.seeds import derive_seed, generator
from dp_core.training.data import DataSource
from dp_core.training.precision import uses_bfloat16
from dp_core.training.recipe import Recipe


class Diverged(Exception):
    """The loss became NaN or infinite."""


class Training:
    """A network on its way through a recipe.

    Data order, augmentation and dropout are functions of `seed` and the step, so `state_dict` is the network, the
    optimiser and the step count, and a training resumed from it goes on bit for bit as if it had not stopped (on one
    machine, with the same number of threads). Weights that `mask` removes are exactly zero before the first step and
    after every one.

    Args:
        model: trained in place, on the device it is on.
        data: on the same device, or streamed to it.
        recipe: how to train.
        seed: of data order, augmentation and dropout.
        mask: for the parameters that are pruned, by name, a bool tensor of the weights that are kept; None for none.
    """

    def __init__(
        self, model: nn.Module, data: DataSource, recipe: Recipe, *, seed: int, mask: Mapping[str, Tensor] | None
    ) -> None:
        device = next(model.parameters()).device
        self.model = model
        self.step = 0
        self.total_steps = recipe.total_steps(len(data))
        self.images_per_step = recipe.images_per_step(len(data))
        self._recipe = recipe
        self._seed = seed
        self._removed = _removed_weights(model, mask or {})
        self._batches = data.batches(recipe.batch_size, seed, device)
        self._augment = AUGMENTATIONS[recipe.augmentation]
        self._bfloat16 = uses_bfloat16(recipe.precision, model, device)
        self._device = device
        if self._bfloat16:
            model.to(memory_format=torch.channels_last)
        self.optimizer = recipe.build_optimizer(model)
        self._apply_mask()

    @property
    def finished(self) -> bool:
        """Whether all of the recipe's steps are done."""
        return self.step >= self.total_steps

    @property
    def image_gradients(self) -> int:
        """Images that went forward and backward so far."""
        return self.step * self.images_per_step

    def run(self, steps: int | None = None) -> float:
        """Do the next `steps` steps, or all that are left; return their mean loss (0 if there are none).

        Raises:
            Diverged: the loss is NaN or infinite.
        """
        stop = self.total_steps if steps is None else min(self.step + steps, self.total_steps)
        start, total = self.step, torch.zeros((), device=self._device)
        self.model.train()
        # What the network itself draws (dropout) comes from torch's global generators: seeded step by step like the
        # rest, and put back afterwards.
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            while self.step < stop:
                torch.manual_seed(derive_seed(self._seed, "network", self.step))
                total += self._one_step()
                self.step += 1
        mean = float(total) / max(stop - start, 1)
        if not math.isfinite(mean):
            raise Diverged(f"the loss became {mean} by step {self.step} of {self.total_steps}")
        return mean

    def _one_step(self) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate_at(self.step, self.total_steps)
        images, labels = self._batches(self.step)
        images = self._augment(images, generator(self._seed, "augmentation", self.step))
        if self._bfloat16:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self.model(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self._recipe.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self._apply_mask()
        return loss.detach()

    def _apply_mask(self) -> None:
        with torch.no_grad():
            for parameter, removed in self._removed:
                parameter.masked_fill_(removed, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that training changes: network with buffers, optimiser, step."""
        return {
            "model": {name: value.detach().clone() for name, value in self.model.state_dict().items()},
            "optimizer": _cloned(self.optimizer.state_dict()),
            "step": self.step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to (or on from) a state that `state_dict` returned; the mask is applied again."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(_cloned(state["optimizer"]))
        self.step = int(state["step"])
        self._apply_mask()


def _removed_weights(model: nn.Module, mask: Mapping[str, Tensor]) -> list[tuple[nn.Parameter, Tensor]]:
    """Return each masked parameter with the places to be kept at zero, on the parameter's device."""
    parameters = dict(model.named_parameters())
    return [(parameters[name], ~kept.to(parameters[name].device)) for name, kept in mask.items()]


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _cloned(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_cloned(entry) for entry in value]
    return value
