"""How stable a network is: mode connectivity, sharpness, the loss around it."""

from dp_core.stability.connectivity import Connectivity, interpolate
from dp_core.stability.hessian import TopEigenvalue, top_eigenvalue
from dp_core.stability.landscape import LossSlice, loss_slice

__all__ = ["Connectivity", "LossSlice", "TopEigenvalue", "interpolate", "loss_slice", "top_eigenvalue"]
