"""Several trainings of one shape done together: seeds, masks, learning rates and data orders may differ."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from dp_core.training.graph import CudaRecorder, GraphedUpdate, Recorder, draws_random_numbers
from dp_core.training.loop import Diverged, Training
from dp_core.training.parts import can_be_recorded
from dp_core.training.splitting import out_of_memory

Strategy = Literal["auto", "batched", "in_turn"]


class Population:
    """Trainings that go on together; each ends as it would have alone.

    `batched` stacks the parameters of all members, maps one network over them (torch.func.vmap, which turns
    convolutions into grouped ones) and lets every member's own optimiser, learning rate and mask do the rest. Losses
    and weights are those of a training alone up to the rounding of other kernels: with float32 within 1e-4 relative
    after tens of steps (tests/dp_core/training/test_population.py). It is for GPUs, where one small network leaves most
    of the device idle. `in_turn` does the members one after the other, which is exactly what each does alone; on a CPU
    one network already fills the cores, and grouped convolutions are no faster (benchmarks/population.py).

    Args:
        members: at least one; for `batched` of the same architecture, batch size and number of steps, all at the same
            step. The trainings are advanced in place, and may go on alone or be saved between two calls of `run`.
        strategy: `auto` is `batched` on GPUs where it can be done and `in_turn` elsewhere, also for members whose
            batches are to be in memory in parts.
        recorder: records the common step as a CUDA graph; by default on GPUs only.
    """

    def __init__(
        self, members: Sequence[Training], *, strategy: Strategy = "auto", recorder: Recorder | None = None
    ) -> None:
        if not members:
            raise ValueError("A population needs at least one member.")
        self.members = tuple(members)
        self._device = next(members[0].model.parameters()).device
        on_gpu = self._device.type == "cuda"
        spacious = all(member.memory_parts == 1 for member in members)
        wanted = strategy == "batched" or (strategy == "auto" and on_gpu and spacious and len(members) > 1)
        self.strategy: Literal["batched", "in_turn"] = "batched" if wanted and self._alike() else "in_turn"
        if strategy == "batched" and self.strategy != "batched":
            raise ValueError("These trainings differ in shape, progress or recipe and cannot be batched.")
        self._recorder = CudaRecorder() if recorder is None and on_gpu else recorder
        if not all(can_be_recorded(member.recipe) for member in members):
            self._recorder = None
        self._graph: GraphedUpdate | None = None
        self._parameters: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}

    def run(self, steps: int | None = None) -> list[float | Diverged]:
        """Do the next `steps` steps of every member, or all that are left.

        Returns:
            For every member its mean loss or, where that is not finite, the error that its own `run` would raise.
        """
        if self.strategy == "batched":
            self._stack()
            if self._can_be_mapped():
                return self._run_batched(steps)
            self.strategy = "in_turn"
        outcomes: list[float | Diverged] = []
        for member in self.members:
            try:
                outcomes.append(member.run(steps))
            except Diverged as error:
                outcomes.append(error)
        return outcomes

    def _alike(self) -> bool:
        """Whether all members have the same shapes, are at the same step and have the same steps before them."""
        first = self.members[0]

        def shape(member: Training) -> object:
            tensors = [*member.model.named_parameters(), *member.model.named_buffers()]
            kinds = [(name, tensor.shape, tensor.dtype) for name, tensor in tensors]
            recipe = member.recipe
            progress = member.step, member.total_steps, member.images_per_step
            loss = recipe.loss, recipe.label_smoothing
            return str(member.model), kinds, progress, loss, recipe.precision, self._device

        return all(shape(member) == shape(first) for member in self.members)

    def _stack(self) -> None:
        """Put the tensors of all members side by side; theirs become views, so that each sees its own change."""
        models = [member.model for member in self.members]
        for into, name_tensors in (
            (self._parameters, [dict(model.named_parameters()) for model in models]),
            (self._buffers, [dict(model.named_buffers()) for model in models]),
        ):
            for name in name_tensors[0]:
                own = [tensors[name] for tensors in name_tensors]
                stacked = torch.stack([tensor.detach() for tensor in own])
                for tensor, view in zip(own, stacked, strict=True):
                    tensor.data = view
                into[name] = stacked.requires_grad_(own[0].requires_grad)
        for member in self.members:
            member.follow_parameters()

    def _can_be_mapped(self) -> bool:
        """Whether the network can be mapped over its parameters and draws no random numbers of its own."""
        images, labels = self._batches()
        saved = {name: buffer.clone() for name, buffer in self._buffers.items()}
        try:
            with torch.no_grad():
                return not draws_random_numbers(lambda: self._losses(images, labels), self._device)
        except RuntimeError:  # vmap says so of operations that it does not know, and of random ones
            return False
        finally:
            for name, value in saved.items():
                self._buffers[name].copy_(value)

    def _run_batched(self, steps: int | None) -> list[float | Diverged]:
        start = self.members[0].step
        stop = self.members[0].total_steps if steps is None else min(start + steps, self.members[0].total_steps)
        totals = torch.zeros(len(self.members), device=self._device)
        graph = None if self._recorder is None else GraphedUpdate(self._recorder)
        for _ in range(start, stop):
            images, labels = self._batches()
            try:
                if graph is None or any(member.needs_gradients for member in self.members):
                    totals += self._update(images, labels)
                else:
                    totals += graph(self._update, self._clear_gradients, images, labels)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                break
            for member in self.members:
                member.end_step()
        else:
            return self._outcomes(totals.tolist(), stop - start, stop)
        # Outside the except clause, whose traceback would keep the activations alive. Nothing of the step was done:
        # memory runs out in the passes and not in the optimisers' steps, which come after all of them.
        return self._go_on_in_turn(totals.tolist(), start, stop)

    def _go_on_in_turn(self, totals: list[float], start: int, stop: int) -> list[float | Diverged]:
        warnings.warn(
            f"Out of memory with {len(self.members)} networks at once on {self._device}: they are trained in turn.",
            stacklevel=3,
        )
        self.strategy = "in_turn"
        self._clear_gradients()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        left = stop - self.members[0].step
        for index, outcome in enumerate(self.run(left)):
            totals[index] = math.nan if isinstance(outcome, Diverged) else totals[index] + outcome * left
        return self._outcomes(totals, stop - start, stop)

    @staticmethod
    def _outcomes(totals: list[float], steps: int, stop: int) -> list[float | Diverged]:
        means = [total / max(steps, 1) for total in totals]
        return [mean if math.isfinite(mean) else Diverged(f"the loss became {mean} by step {stop}") for mean in means]

    def _batches(self) -> tuple[Tensor, Tensor]:
        pairs = [member.prepare_step() for member in self.members]
        return torch.stack([images for images, _ in pairs]), torch.stack([labels for _, labels in pairs])

    def _update(self, images: Tensor, labels: Tensor) -> Tensor:
        self._clear_gradients()
        losses = self._losses(images, labels)
        losses.sum().backward()
        for index, member in enumerate(self.members):
            for name, parameter in member.model.named_parameters():
                gradient = self._parameters[name].grad
                parameter.grad = None if gradient is None else gradient[index]
            member.apply_gradients()
        return losses.detach()

    def _losses(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of every member on its own batch, float32 [members]."""
        first = self.members[0]
        model, loss_of, bfloat16 = first.model.train(), first.loss, first.network.bfloat16

        def loss(state: tuple[dict[str, Tensor], dict[str, Tensor]], images: Tensor, labels: Tensor) -> Tensor:
            with torch.autocast(self._device.type, torch.bfloat16, enabled=bfloat16):
                logits: Tensor = functional_call(model, state, (images,))
            return loss_of(logits.float(), labels)

        losses: Tensor = vmap(loss, randomness="error")((self._parameters, self._buffers), images, labels)
        return losses

    def _clear_gradients(self) -> None:
        for parameter in self._parameters.values():
            parameter.grad = None
