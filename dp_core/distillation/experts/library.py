"""A folder of expert buffers in which each is found by what it was made from; distillers share it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Preprocessing
from dp_core.distillation.base import HERE, Progress
from dp_core.distillation.experts.buffer import ExpertBuffer
from dp_core.distillation.experts.plan import ExpertPlan
from dp_core.distillation.experts.training import train_experts


class ExpertLibrary:
    """Trains each expert once: a buffer's key is the digest of plan, source digest and space."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, plan: ExpertPlan, source: ImageDataset, space: Preprocessing) -> Path:
        """Return where the buffer is, or will be; plans that differ in the number of experts share one."""
        return self._folder / f"experts-{plan.digest(source, space)[:12]}"

    def get(
        self,
        plan: ExpertPlan,
        source: ImageDataset,
        space: Preprocessing,
        *,
        progress: Progress = HERE.progress,
        say: Callable[[str], None] = HERE.say,
    ) -> ExpertBuffer:
        """Return the buffer, training the experts that are missing.

        Raises:
            UserError: what is there is damaged, or an expert cannot be trained or kept (see `train_experts`).
        """
        return train_experts(plan, source, space, self.path(plan, source, space), progress=progress, say=say)
