"""What a distillation is, and what of it may be changed on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dp_core.errors import UserError


@dataclass(frozen=True)
class Identity:
    """What decides the result of a distillation.

    Attributes:
        whole: digest of all of it.
        lasting: digest of all but the step sizes.
        step_sizes: settings by name, such as `image_rate`, which may be others from some iteration on.
    """

    whole: str
    lasting: str
    step_sizes: Mapping[str, float]

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint has of this."""
        return {"identity": self.whole, "lasting": self.lasting, "step_sizes": dict(self.step_sizes)}

    def adopt(self, state: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return a checkpoint of this distillation, or of the same with other step sizes, as one of this.

        With new step sizes, nothing is halved yet; `changes` says what they were before, and until when.

        Raises:
            UserError: `where`, the checkpoint's folder, has that of another distillation.
        """
        if state["identity"] == self.whole:
            return {"changes": [], **state, **self.record()}
        if state.get("lasting") != self.lasting:
            raise UserError(f"{where} holds the checkpoint of another distillation: remove it or use another folder.")
        change = {"until_iteration": int(state["iteration"]), **state["step_sizes"]}
        return {**state, **self.record(), "scale": 1.0, "changes": [*state["changes"], change]}
