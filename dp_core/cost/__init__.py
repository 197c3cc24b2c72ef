"""What a network costs: parameters, FLOPs, latency."""

from dp_core.cost.cost import Cost, CostModel
from dp_core.cost.dense_cost import DenseCost, dense_cost
from dp_core.cost.latency import latency_ms

__all__ = ["Cost", "CostModel", "DenseCost", "dense_cost", "latency_ms"]
