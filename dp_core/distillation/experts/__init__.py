"""Expert trajectories: networks trained on real data, kept epoch by epoch, for the distillers that match them."""

from dp_core.distillation.experts.buffer import ExpertBuffer
from dp_core.distillation.experts.library import ExpertLibrary
from dp_core.distillation.experts.plan import ExpertPlan
from dp_core.distillation.experts.training import train_experts

__all__ = ["ExpertBuffer", "ExpertLibrary", "ExpertPlan", "train_experts"]
