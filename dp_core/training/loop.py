"""The one training loop: masked, resumable at any step, the same for screening and for retraining."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dp_core.seeds import derive_seed, generator
from dp_core.training.compiling import compiled_network
from dp_core.training.data import DataSource
from dp_core.training.graph import CudaRecorder, GraphedUpdate, Recorder, draws_random_numbers
from dp_core.training.kept_weights import KeptWeights
from dp_core.training.mask_rule import MaskRule
from dp_core.training.network import Network, unchanged_buffers
from dp_core.training.parts import augmentation_of, build_optimizer, can_be_recorded, loss_of
from dp_core.training.recipe import Mode, Recipe
from dp_core.training.splitting import BatchSplitter, in_first_part


class Diverged(Exception):
    """The loss became NaN or infinite."""


class Training:
    """A network on its way through a recipe.

    Data order, augmentation and dropout are functions of `seed` and the step, so `state_dict` is the network, the
    optimiser and the step count, and a training resumed from it goes on bit for bit as if it had not stopped (on one
    machine, with the same number of threads). Weights that the mask removes are exactly zero before the first step and
    after every one, also where a `rule` changes the mask on the way; the mask is then part of the state.

    Args:
        model: trained in place, on the device it is on.
        data: on the same device, or streamed to it.
        recipe: how to train.
        seed: of data order, augmentation and dropout.
        mask: for the parameters that are pruned, by name, a bool tensor of the weights that are kept; None for none.
        rule: changes the mask while the network trains; None leaves it as it is.
        recorder: records steps as CUDA graphs; by default on GPUs only.
        memory_parts: in how many parts a batch goes through the network from the first step on, one after the other
            (see BatchSplitter); more where memory runs out.
    """

    def __init__(
        self,
        model: nn.Module,
        data: DataSource,
        recipe: Recipe,
        *,
        seed: int,
        mask: Mapping[str, Tensor] | None,
        rule: MaskRule | None = None,
        recorder: Recorder | None = None,
        memory_parts: int = 1,
    ) -> None:
        device = next(model.parameters()).device
        self.model = model
        self.step = 0
        self.total_steps = recipe.total_steps(len(data))
        self.images_per_step = recipe.images_per_step(len(data))
        self.recipe = recipe
        self.memory_parts = memory_parts
        self.data = data
        self.seed = seed
        self._device = device
        self._batches = data.batches(recipe.batch_size, seed, device)
        self._augment = augmentation_of(recipe)
        self.loss = loss_of(recipe)
        self._recorder = CudaRecorder() if recorder is None and device.type == "cuda" else recorder
        if not can_be_recorded(recipe):
            self._recorder = None
        self.network = self._uncompiled(recipe.mode)
        self._to_compile = recipe.mode == "compiled"  # with the first step, which shows what for
        self._kept = KeptWeights(model, mask or {})
        self._rule = rule
        self.optimizer = build_optimizer(recipe, model, capturable=self._recorder is not None)
        self._gradients = BatchSplitter(memory_parts)
        self._graph: GraphedUpdate | None = None
        self._memory: list[int] = []  # where the parameters were in the last step
        self._draws = True  # whether the network draws random numbers of its own; found out if it matters
        self._kept.apply_()

    @property
    def finished(self) -> bool:
        """Whether all of the recipe's steps are done."""
        return self.step >= self.total_steps

    @property
    def image_gradients(self) -> int:
        """Images that went forward and backward so far, those that the rule looked at beside the steps included."""
        looked_at = 0 if self._rule is None else self._rule.image_gradients(self.step, self.total_steps)
        return self.step * self.images_per_step + looked_at

    @property
    def mask(self) -> dict[str, Tensor]:
        """The weights there are now: for the parameters that are pruned a bool tensor each, on the CPU."""
        return self._kept.mask

    def run(self, steps: int | None = None) -> float:
        """Do the next `steps` steps, or all that are left; return their mean loss (0 if there are none).

        Nothing in it waits for the device but the end.

        Raises:
            Diverged: the loss is NaN or infinite.
            UserError: one image is too large for the device's memory.
        """
        stop = self.total_steps if steps is None else min(self.step + steps, self.total_steps)
        start, total = self.step, torch.zeros((), device=self._device)
        self.model.train()
        self.network.train()
        self.follow_parameters()
        # What the network itself draws (dropout) comes from torch's global generators: seeded step by step like the
        # rest, and put back afterwards.
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            while self.step < stop:
                total += self._one_step()
                self.end_step()
        mean = float(total) / max(stop - start, 1)
        if not math.isfinite(mean):
            raise Diverged(f"the loss became {mean} by step {self.step} of {self.total_steps}")
        return mean

    def _one_step(self) -> Tensor:
        images, labels = self.prepare_step()
        if self._to_compile:
            self._compile(images, labels)
        if self._recorder is None or self.needs_gradients:  # those of a recorded step are nobody else's
            return self._update(images, labels)
        if self._graph is None:
            self._graph = GraphedUpdate(self._recorder)
            with unchanged_buffers(self.model), torch.no_grad():
                part = in_first_part(self._gradients.parts, images, labels)
                self._draws = draws_random_numbers(lambda: self._loss(*part), self._device)
        if self._draws:
            return self._update(images, labels)
        return self._graph(self._update, self._clear_gradients, images, labels)

    def _compile(self, images: Tensor, labels: Tensor) -> None:
        part, part_labels = in_first_part(self._gradients.parts, images, labels)
        loss = functools.partial(self._loss, part, part_labels)
        self.network = compiled_network(self.model, self.recipe.precision, part, loss) or self.network
        self._to_compile = False
        self.follow_parameters()

    def follow_parameters(self) -> None:
        """Bring in line what goes by the parameters' memory, which networks and populations may have replaced.

        That is the optimiser's state, whose kernels take the parameter's layout for granted, and the recorded step.
        """
        for parameter, state in self.optimizer.state.items():
            for name, value in state.items():
                moved = isinstance(value, Tensor) and value.shape == parameter.shape
                if moved and value.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter.detach()).copy_(value)
        memory = [parameter.data_ptr() for parameter in self.model.parameters()]
        if memory != self._memory:
            self._memory, self._graph = memory, None

    def _uncompiled(self, mode: Mode) -> Network:
        return Network(self.model, mode="auto" if mode == "compiled" else mode, precision=self.recipe.precision)

    def prepare_step(self) -> tuple[Tensor, Tensor]:
        """Set the learning rate of the coming step; return its augmented images, float [batch, C, H, W], and labels."""
        self._set_learning_rate(self.recipe.learning_rate_at(self.step, self.total_steps))
        images, labels = self._batches(self.step)
        return self._augment(images, generator(self.seed, "augmentation", self.step)), labels

    def _update(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = self._gradients(self._loss, self._before_attempt, images, labels)
        self.apply_gradients()
        return loss

    def apply_gradients(self) -> None:
        """Let the optimiser make its step with the gradients that are there, and keep removed weights at zero."""
        self.optimizer.step()
        self._kept.apply_()

    @property
    def needs_gradients(self) -> bool:
        """Whether the rule will look at the gradients of the coming step, which must then be those in `.grad`."""
        rule = self._rule
        return rule is not None and rule.uses_gradients and rule.is_due(self.step + 1, self.total_steps)

    def end_step(self) -> None:
        """Count the step that was done, and let the rule change the mask if that is due."""
        self.step += 1
        if self._rule is not None and self._rule.is_due(self.step, self.total_steps):
            self._kept.change_(self._rule(self), self.optimizer)

    def _loss(self, images: Tensor, labels: Tensor, network: Network | None = None) -> Tensor:
        return self.loss((network or self.network)(images), labels)

    def _before_attempt(self) -> None:
        self._clear_gradients()
        if self._draws:  # else the step may be one that is being recorded, which must not touch the generator
            torch.manual_seed(derive_seed(self.seed, "network", self.step))

    def _clear_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def _set_learning_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that training changes: network with buffers, optimiser, step, and the mask."""
        changing = {} if self._rule is None else {"mask": self.mask}
        return {
            **changing,
            "model": {name: value.detach().clone() for name, value in self.model.state_dict().items()},
            "optimizer": _cloned(self.optimizer.state_dict()),
            "step": self.step,
            "mode": "compiled" if self._to_compile else self.network.mode,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to (or on from) a state that `state_dict` returned; the mask is applied again.

        The network goes on in the mode that it was in, so that what follows is the same to the bit.
        """
        mode = state["mode"]
        self._to_compile = mode == "compiled" and self.network.mode != "compiled"
        if mode != self.network.mode:
            self.network = self._uncompiled(mode)
        self._graph = None
        self.model.load_state_dict(state["model"])
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(_cloned(state["optimizer"]))
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(rate, Tensor):  # it is this one that a CUDA graph reads
                group["lr"] = rate.fill_(float(group["lr"]))
                if "capturable" in group:
                    group["capturable"] = self._device.type == "cuda"
            else:
                group["lr"] = float(group["lr"])
        self.step = int(state["step"])
        if self._rule is not None:
            self._kept.change_(state["mask"])
        self._kept.apply_()


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _cloned(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_cloned(entry) for entry in value]
    return value
