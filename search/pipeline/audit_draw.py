"""Which candidates are audited: a uniform draw that can be gone on with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dp_core.seeds import derive_seed


@dataclass(frozen=True)
class Draw:
    """Candidates in the order they were drawn.

    Args:
        first: as many as were asked for, whatever becomes of them.
        further: those drawn in place of some that came to nothing.
    """

    first: tuple[int, ...]
    further: tuple[int, ...]


def draw(
    population: Collection[int], size: int, seed: int, lost: Collection[int] = (), before: Sequence[int] = ()
) -> Draw:
    """Draw `size` of the population, and a further one for each of the drawn that came to nothing, while there are any.

    Every candidate has a random number of its own, and the draw goes along the population in the order of these
    ("permanent random numbers", Ohlsson, "Coordination of Samples Using Permanent Random Numbers", 1995). So the
    first `size` are a simple random sample of whatever the population is, and when one leaves it, being promoted
    after all, the others stay drawn and the next one comes in. Which further ones are drawn depends on what became
    of those before them, and so they are kept apart: how many candidates come to nothing must be told from the
    first alone, as with the further ones the draw always ends where enough have not. Among those that come to
    something, first and further ones together are a simple random sample, since the order of these does not depend
    on where in it the others stand.

    Args:
        population: whom to draw from; what has come to nothing and was found in a draw belongs to it still.
        size: how many to draw.
        seed: of the random numbers.
        lost: those known to have come to nothing.
        before: those drawn so far, in order; they come first, as long as they are of the population.
    """
    members = set(population)
    drawn = [number for number in before if number in members]
    rest = sorted(members.difference(drawn), key=lambda number: derive_seed(seed, "audit", number))
    order = [*drawn, *rest]
    first, further = order[:size], list[int]()
    left = sum(number in lost for number in first)
    for number in order[size:]:
        if left == 0:
            break
        further.append(number)
        left -= number not in lost
    return Draw(tuple(first), tuple(further))
