"""The fidelity ladder: which looks at a candidate there are, from the cheapest to the dearest."""

from __future__ import annotations

from dataclasses import dataclass, field

from dp_core.errors import UserError, nearest
from dp_core.proxies import PROXIES
from dp_core.proxies.zero_cost import ZeroCost
from dp_core.training import Recipe
from trainables.trials.candidate import Candidate


@dataclass(frozen=True)
class LadderPlan:
    """Rungs below and above a candidate's own screening; without any it is that screening alone.

    Attributes:
        zero_cost: a proxy that does not train, as the first rung.
        ipc: images a class of pruning rungs of their own, for those candidates that have more.
        real_epochs: length of a training of the ticket on real images, as the last rung; 0 for none.
        recipe: of that training; its own length does not count.
    """

    zero_cost: str | None = None
    ipc: tuple[int, ...] = ()
    real_epochs: int = 0
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=1.0))

    def __post_init__(self) -> None:
        if self.zero_cost is not None:
            zero_cost_proxy(self.zero_cost)
        if any(ipc < 1 for ipc in self.ipc) or self.real_epochs < 0:
            raise UserError(
                f"A ladder has rungs of at least 1 image a class and 0 or more epochs on real images, not {self.ipc} "
                f"and {self.real_epochs}."
            )

    def fidelities(self, candidate: Candidate) -> tuple[str, ...]:
        """Return what each rung looks with that `candidate` climbs: `nwot`, `distilled-1`, …, `real-epochs-2`."""
        first = () if self.zero_cost is None else (self.zero_cost,)
        last = (f"real-epochs-{self.real_epochs}",) if self.real_epochs else ()
        return (*first, *candidate.ladder_keys(self.ipc), *last)


def zero_cost_proxies() -> tuple[str, ...]:
    """Return the names of the proxies that do not train."""
    return tuple(name for name, kind in PROXIES.items() if issubclass(kind, ZeroCost))


def zero_cost_proxy(name: str) -> ZeroCost:
    """Return the proxy of that name at its default settings.

    Raises:
        UserError: there is no such proxy, or it trains.
    """
    known = zero_cost_proxies()
    if name not in known:
        raise UserError(
            f"There is no score of untrained networks '{name}'.{nearest(name, known)} Known: {', '.join(known)}."
        )
    proxy = PROXIES[name]()
    assert isinstance(proxy, ZeroCost)
    return proxy
