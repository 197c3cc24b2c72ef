"""What a network costs, and how stable it is: mode connectivity, sharpness, the loss around it."""

from dp_core.analysis.connectivity import Connectivity, interpolate
from dp_core.analysis.cost import Cost, CostModel
from dp_core.analysis.hessian import TopEigenvalue, top_eigenvalue
from dp_core.analysis.landscape import LossSlice, loss_slice

__all__ = [
    "Connectivity",
    "Cost",
    "CostModel",
    "LossSlice",
    "TopEigenvalue",
    "interpolate",
    "loss_slice",
    "top_eigenvalue",
]
