"""Trajectory matching with constant memory, TESLA (Cui et al., ICML 2023, arXiv 2211.10586)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dp_core.distillation.trajectory_matching import TrajectoryMatching


@dataclass(frozen=True, kw_only=True)
class Tesla(TrajectoryMatching):
    """Trajectory matching whose memory does not grow with the number of steps.

    With the gradients g_t of the steps, θ_T = θ_0 − α Σ g_t, and the loss is a quadratic function of the sum. TESLA
    takes each g_t to depend on the images of its own step alone, so every step needs nothing but the direction
    dL/dθ_T = 2 (θ_T − θ*) / ‖θ_0 − θ*‖². All steps are done once for it and once more for the gradients.
    """

    method: ClassVar[str] = "tesla"
    exact: ClassVar[bool] = False
