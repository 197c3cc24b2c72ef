"""Difficulty-aligned trajectory matching, DATM (Guo et al., ICLR 2024, arXiv 2310.05773)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.func import functional_call

from dp_core.distillation.iterative import Labels, Task
from dp_core.distillation.running import Objective
from dp_core.distillation.synthetic import Synthetic
from dp_core.distillation.trajectory_matching import Matching, TrajectoryMatching
from dp_core.models import build


@dataclass(frozen=True, kw_only=True)
class DATM(TrajectoryMatching):
    """Trajectory matching that begins with what experts learn early and lets in later epochs one after the other.

    Easy patterns are learned early in training and serve small sets, hard ones late and serve large sets. The epochs
    that a match may start from lie between `min_start_epoch` and a bound that rises from `first_max_start_epoch` to
    `max_start_epoch` over the first `expansion` of the iterations (the paper's sequential generation). Labels are
    learned and start as what an expert, fully trained, predicts for the initial images. Of the paper's recipe, the
    choice of initial images that the expert gets right is not done: they are random real ones.
    """

    method: ClassVar[str] = "datm"

    labels: Labels = "learned"
    """`hard`, or `learned`: soft labels that start as an expert's predictions and are optimised with the images."""
    first_max_start_epoch: int = 5
    """Epoch before which matches start at first, above `min_start_epoch` and at most `max_start_epoch`."""
    expansion: float = 0.5
    """Share of the iterations over which the bound rises, from 0 (at once) to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(
            "first_max_start_epoch",
            self.min_start_epoch < self.first_max_start_epoch <= self.max_start_epoch,
            f"above min_start_epoch {self.min_start_epoch} and at most max_start_epoch {self.max_start_epoch}",
        )
        self._require("expansion", 0 <= self.expansion <= 1, "from 0 to 1")
        self._require("minutes", self.minutes is None, "to be null, as it goes from easy to hard by its iterations")

    def epochs_at(self, iteration: int) -> tuple[int, int]:
        """See TrajectoryMatching; the bound rises linearly, in whole epochs."""
        rising = self.expansion * self.iterations
        share = 1.0 if iteration >= rising else iteration / rising
        gained = int(share * (self.max_start_epoch - self.first_max_start_epoch))
        return self.min_start_epoch, self.first_max_start_epoch + gained

    def prepare(self, synthetic: Synthetic, objective: Objective, task: Task) -> None:
        """Let the labels start as the predictions of the first expert after its last epoch."""
        assert isinstance(objective, Matching)
        if synthetic.logits is None:
            return
        experts, device = objective.experts, synthetic.images.device
        model = build(experts.spec(0), task.source.image_shape, task.source.classes, seed=0).to(device).train()
        with torch.no_grad(), torch.random.fork_rng([]):
            predicted = functional_call(model, experts.parameters(0, experts.epochs, device), (synthetic.images,))
            synthetic.logits.copy_(predicted.float().log_softmax(1))
