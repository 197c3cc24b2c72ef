"""Training experts on real data, several at a time, each kept when it is finished."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import ZCA, Preprocessing
from dp_core.device import default_device
from dp_core.distillation.base import HERE, Progress
from dp_core.distillation.experts.buffer import ExpertBuffer, claim_folder, trajectory
from dp_core.distillation.experts.plan import ExpertPlan
from dp_core.errors import UserError
from dp_core.models import build
from dp_core.training import Diverged, Population, Training, TrainingData

_TOGETHER_ON_GPU = 10
_TOGETHER_BYTES = 4 * 2**30  # of unfinished trajectories in memory, unless a single one is larger


def train_experts(
    plan: ExpertPlan,
    source: ImageDataset,
    space: Preprocessing,
    folder: Path,
    *,
    together: int | None = None,
    progress: Progress = HERE.progress,
    say: Callable[[str], None] = HERE.say,
) -> ExpertBuffer:
    """Train the experts that are missing in `folder`, on the default device, and return the buffer.

    An expert is a function of the plan and its own number, and is kept when it is finished; one that was interrupted
    starts over. Its epoch e ends at the step nearest to e passes over the data (Recipe.steps_of_epochs).

    Args:
        plan: what to train.
        source: the training images; never validation or test images.
        space: maps them, in [0, 1], to what the networks are trained on.
        folder: of this buffer.
        together: experts of one architecture to train at a time, at least 1. Their trajectories are in memory until
            they are finished. None takes one on a CPU, which a single network fills, and up to ten on a GPU.
        progress: is called after every epoch, with the epochs of all missing experts and the mean loss of the last.
        say: is told which experts are trained.

    Raises:
        UserError: a network cannot be built, an expert diverges, `folder` was made from something else, an expert in
            it is damaged, or there is no room for the missing ones.
    """
    plan.check(source)
    if together is not None and together < 1:
        raise UserError(f"At least 1 expert must be trained together, not {together}.")
    identity = plan.identity(source, space)
    claim_folder(folder, identity)
    missing = [expert for expert in range(plan.experts) if not trajectory(folder, expert).exists()]
    for expert in sorted(set(range(plan.experts)).difference(missing)):
        trajectory(folder, expert).check_whole()
    if missing:
        workshop = _Workshop(plan, source, space, folder, progress, say)
        workshop.check_room(missing)
        workshop.train(missing, together)
    return ExpertBuffer.open(folder, identity, experts=plan.experts)


class _Workshop:
    """Trains the missing experts of one buffer, on data that are brought to the device once."""

    def __init__(
        self,
        plan: ExpertPlan,
        source: ImageDataset,
        space: Preprocessing,
        folder: Path,
        progress: Progress,
        say: Callable[[str], None],
    ) -> None:
        self._plan, self._recipe, self._folder, self._device = plan, plan.recipe(), folder, default_device()
        self._digest = plan.digest(source, space)
        self._shape, self._classes = source.image_shape, source.classes
        self._data = TrainingData(source.images, source.labels, _on(space, self._device)).to(self._device)
        self._progress, self._say = progress, say
        self._epochs_done = 0
        self._bytes = [self._bytes_of(self._build(kind)) for kind in range(len(plan.models))]  # of a trajectory

    def check_room(self, missing: Sequence[int]) -> None:
        """Raise UserError if the disk cannot take what is to be trained, before hours are spent on it."""
        needed = sum(self._bytes[expert % len(self._bytes)] for expert in missing)
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise UserError(
                f"There is no room left for {len(missing)} expert trajectories: they take {needed / 1e9:.1f} GB, "
                f"{self._folder} has {free / 1e9:.1f} GB free."
            )

    def train(self, missing: Sequence[int], together: int | None) -> None:
        """Train and keep the experts `missing`, `together` at a time."""
        total = len(missing) * self._plan.epochs
        kinds = len(self._plan.models)
        for kind in range(kinds):  # experts of one architecture differ in seeds only and can be batched
            alike = [expert for expert in missing if expert % kinds == kind]
            size = together or self._fitting(kind)
            for start in range(0, len(alike), size):
                self._train_group([self._begin(expert) for expert in alike[start : start + size]], total)

    def _train_group(self, group: Sequence[_Unfinished], total: int) -> None:
        names, label = ", ".join(str(one.expert) for one in group), self._plan.spec(group[0].expert).label()
        self._say(f"Training expert {names} of {self._plan.experts}, counted from 0: {label}.")
        population = Population([one.training for one in group])
        started = time.perf_counter()
        for epoch in range(1, self._plan.epochs + 1):
            stop = self._recipe.steps_of_epochs(epoch, len(self._data))
            outcomes = population.run(stop - group[0].training.step)
            for one, outcome in zip(group, outcomes, strict=True):
                self._keep_epoch(one, outcome, epoch)
            self._epochs_done += len(group)
            self._progress(self._epochs_done, total, sum(one.losses[-1] for one in group) / len(group))
        for one in group:
            self._finish(one, (time.perf_counter() - started) / len(group))

    def _begin(self, expert: int) -> _Unfinished:
        model = self._build(expert).to(self._device)
        seed = self._plan.seed_of(expert, "training")
        training = Training(model, self._data, self._recipe, seed=seed, mask=None)
        return _Unfinished(expert, training, [_snapshot(model, self._plan.dtype)], [])

    def _keep_epoch(self, one: _Unfinished, outcome: float | Diverged, epoch: int) -> None:
        one.epochs.append(_snapshot(one.training.model, self._plan.dtype))
        # The loss of the last step came before its update, which may have been the one too many.
        if isinstance(outcome, Diverged) or not all(bool(value.isfinite().all()) for value in one.epochs[-1].values()):
            reason = outcome if isinstance(outcome, Diverged) else "its weights are no longer finite"
            raise UserError(
                f"Expert {one.expert} ({self._plan.spec(one.expert).label()}) diverged in epoch {epoch} "
                f"({reason}): lower its learning_rate, now {self._plan.learning_rate}."
            )
        one.losses.append(outcome)

    def _finish(self, one: _Unfinished, seconds: float) -> None:
        kept = trajectory(self._folder, one.expert)
        if kept.exists():  # another process was faster, and its file may be in use
            return
        card = {
            "buffer": self._digest,
            "expert": one.expert,
            "model": self._plan.spec(one.expert).to_dict(),
            "losses": one.losses,
            "torch": torch.__version__,
            "cost": {"seconds": round(seconds, 3), "image_gradients": one.training.image_gradients},
        }
        kept.write(one.epochs, card)

    def _build(self, expert: int) -> nn.Module:
        seed = self._plan.seed_of(expert, "initial weights")
        return build(self._plan.spec(expert), self._shape, self._classes, seed=seed)

    def _bytes_of(self, model: nn.Module) -> int:
        weights = sum(parameter.numel() for parameter in model.parameters())
        return weights * (self._plan.epochs + 1) * self._plan.dtype.itemsize

    def _fitting(self, kind: int) -> int:
        """Return how many experts to train at a time."""
        if self._device.type != "cuda":
            return 1
        return max(1, min(_TOGETHER_ON_GPU, _TOGETHER_BYTES // self._bytes[kind]))


@dataclass(frozen=True, eq=False)
class _Unfinished:
    """An expert on its way: its training, its parameters epoch by epoch, and the mean loss of each epoch."""

    expert: int
    training: Training
    epochs: list[dict[str, Tensor]]
    losses: list[float]


def _snapshot(model: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return copies of the parameters on the CPU, in the plain memory layout that files need."""
    return {
        name: parameter.detach().to("cpu", dtype, copy=True, memory_format=torch.contiguous_format)
        for name, parameter in model.named_parameters()
    }


def _on(space: Preprocessing, device: torch.device) -> Preprocessing:
    """Return the space with its tensors on `device`, where every batch needs them."""
    return ZCA(space.mean.to(device), space.matrix.to(device)) if isinstance(space, ZCA) else space
