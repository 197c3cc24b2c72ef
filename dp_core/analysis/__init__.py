"""What a network costs."""

from dp_core.analysis.cost import Cost, CostModel

__all__ = ["Cost", "CostModel"]
