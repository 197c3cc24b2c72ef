"""What a network costs, and how stable it is, under one name: see `dp_core.cost` and `dp_core.stability`."""

from dp_core.cost import Cost, CostModel, DenseCost, dense_cost, latency_ms
from dp_core.stability import Connectivity, LossSlice, TopEigenvalue, interpolate, loss_slice, top_eigenvalue

__all__ = [
    "Connectivity",
    "Cost",
    "CostModel",
    "DenseCost",
    "LossSlice",
    "TopEigenvalue",
    "dense_cost",
    "interpolate",
    "latency_ms",
    "loss_slice",
    "top_eigenvalue",
]
