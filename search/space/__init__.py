"""Search spaces written in YAML: which candidates there are, and how Optuna proposes them."""

from __future__ import annotations

from search.space.parameters import (
    ChoiceParameter,
    Condition,
    Constant,
    FloatParameter,
    IntParameter,
    Parameter,
)
from search.space.space import Space

__all__ = ["ChoiceParameter", "Condition", "Constant", "FloatParameter", "IntParameter", "Parameter", "Space"]
