"""Training on a distilled set for a few steps: the score that a search by distilled data rests on."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.distillation import DistilledSet
from dp_core.errors import UserError, nearest
from dp_core.models import ModelSpec
from dp_core.proxies.base import ProxyInputs, Reading
from dp_core.proxies.short_training import ShortTraining, of_set


@dataclass(frozen=True)
class DistilledTraining(ShortTraining):
    """What an architecture learns from a distilled set, on real held-back images in the set's own preprocessing."""

    set: str = "distilled"
    """The distilled set's name in `sets`."""

    def check(self, inputs: ProxyInputs) -> None:
        """See Proxy."""
        set_named(self.set, inputs).check_fits(inputs.input_shape, inputs.train.class_names)

    def score(self, spec: ModelSpec, inputs: ProxyInputs, seed: int) -> tuple[Reading, ...]:
        """See Proxy."""
        return self.readings(spec, inputs, of_set(set_named(self.set, inputs), inputs.device), seed)


def set_named(name: str, inputs: ProxyInputs, *others: str) -> DistilledSet:
    """Return a set of the inputs; UserError if there is none of this name, which tells of `others` that would do."""
    if name not in inputs.sets:
        names = [*others, *inputs.sets]
        known = f" Known: {', '.join(names)}." if names else " There is none."
        raise UserError(f"There is no distilled set '{name}'.{nearest(name, names)}{known}")
    return inputs.sets[name]
