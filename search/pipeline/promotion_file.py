"""Which trials were promoted and audited, and the file that says so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from dp_core.files import write_json


@dataclass(frozen=True)
class Promotion:
    """The numbers of the trials whose tickets are retrained.

    Args:
        promoted: the chosen ones, in the order of their choice.
        audited: those drawn at random from the others, as many as were asked for.
        population: how many others the audit was drawn from.
        lost: those that came to nothing: their weights collapsed, or pruning or retraining them failed.
        earlier: those that earlier promotions of a run that went on have audited.
        further: those drawn in place of audited ones that came to nothing, see `draw`.
        replaced: those that were promoted and came to nothing, and whose places others have.
        recipe: by which they come to nothing, see `RetrainingMethod.key`; None in a run from before there were several.
    """

    promoted: tuple[int, ...]
    audited: tuple[int, ...]
    population: int
    lost: tuple[int, ...] = ()
    earlier: tuple[int, ...] = ()
    further: tuple[int, ...] = ()
    replaced: tuple[int, ...] = ()
    recipe: str | None = None

    @property
    def chosen(self) -> tuple[int, ...]:
        """All of them, promoted and drawn."""
        return (*self.promoted, *self.audited, *self.further)

    @property
    def left(self) -> tuple[int, ...]:
        """Those that have not come to nothing."""
        return tuple(number for number in self.chosen if number not in self.lost)

    @property
    def ever_audited(self) -> frozenset[int]:
        """Those that this promotion or an earlier one has drawn."""
        return frozenset((*self.audited, *self.further, *self.earlier))

    def __post_init__(self) -> None:
        """Check that nothing is named twice and that the draw was possible."""
        named, drawn = self.chosen, len(self.audited) + len(self.further)
        if len(set(named)) < len(named) or min(named, default=0) < 0 or self.population < drawn:
            raise ValueError("a promotion names each trial once, and audits no more than there are")


def set_aside(path: Path) -> None:
    """Let a promotion be made anew, when a run has more trials or promotes otherwise."""
    if path.exists():
        path.replace(_aside(path))


def promotion_before(path: Path) -> Promotion | None:
    """Return what the promotion that was set aside still has to say, see `begun_anew`."""
    before = read_promotion(_aside(path))
    return None if before is None else begun_anew(before)


def begun_anew(before: Promotion) -> Promotion:
    """Return a promotion of nobody that knows whom this one has audited: to choose by, if much has changed."""
    return Promotion((), (), 0, earlier=tuple(sorted(before.ever_audited)))


def _aside(path: Path) -> Path:
    return path.with_suffix(".before.json")


def write_promotion(path: Path, promotion: Promotion) -> None:
    """Write a promotion as JSON, all of it or nothing."""
    write_json(path, asdict(promotion))


def read_promotion(path: Path) -> Promotion | None:
    """Return the promotion in a file; None if there is none or it is damaged."""
    try:
        return TypeAdapter(Promotion).validate_json(path.read_bytes(), strict=True)
    except (FileNotFoundError, ValueError):
        return None
