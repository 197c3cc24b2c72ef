"""The tickets that a comparison is to find and train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainables.laboratory import FINAL, Cell, Job, Method


@dataclass(frozen=True)
class WantedTickets:
    """What the jobs of one method on one network follow from.

    Attributes:
        tuned: whether its learning rate is chosen among several.
        sparsities: of its tickets.
    """

    tuned: bool
    sparsities: tuple[float, ...]

    @property
    def dense(self) -> bool:
        """Whether it is the dense network."""
        return self.sparsities == (0.0,)


@dataclass(frozen=True)
class WantedComparison:
    """What the jobs of a comparison follow from.

    Attributes:
        networks: the methods of each network, by name.
        seeds: how many there are.
        tuned: whether the learning rate of the final training is chosen among several.
        rate_of_each: whether it is chosen for each method that is not dense.
    """

    networks: dict[str, dict[str, WantedTickets]]
    seeds: int
    tuned: bool
    rate_of_each: bool = False

    @classmethod
    def of(
        cls,
        networks: Mapping[str, Mapping[str, Method]],
        seeds: int,
        *,
        tuned: bool = False,
        rate_of_each: bool = False,
    ) -> WantedComparison:
        """Return what a comparison of these methods is to make."""
        return cls(
            {
                network: {
                    name: WantedTickets(len(each.learning_rates) > 1, each.sparsities) for name, each in found.items()
                }
                for network, found in networks.items()
            },
            seeds,
            tuned,
            tuned and rate_of_each,
        )

    def jobs(self) -> Iterator[Job]:
        """Yield every job: network by network, seed by seed, so that an unfinished comparison has whole seeds."""
        for network, methods in self.networks.items():
            if self.tuned:
                yield Job("tune", Cell(network, 0, FINAL))
            for name, method in methods.items():
                if method.tuned:
                    yield Job("tune", Cell(network, 0, name))
                if self.rate_of_each and not method.dense:
                    yield Job("tune_training", Cell(network, 0, name))
            for seed in range(self.seeds):
                for name in methods:
                    yield Job("find", Cell(network, seed, name))
                for name, method in methods.items():
                    for target in method.sparsities:
                        yield Job("train", Cell(network, seed, name, target))
