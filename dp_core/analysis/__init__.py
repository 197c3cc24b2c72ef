"""What a network costs, and how stable it is: mode connectivity, sharpness, the loss around it."""

from dp_core.analysis.connectivity import Connectivity, interpolate
from dp_core.analysis.cost import Cost, CostModel
from dp_core.analysis.dense_cost import DenseCost, dense_cost
from dp_core.analysis.hessian import TopEigenvalue, top_eigenvalue
from dp_core.analysis.landscape import LossSlice, loss_slice
from dp_core.analysis.latency import latency_ms

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
