"""A trial between its proposal and its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from search.study.memory import MemoryTrial
from trainables import Candidate
from trainables.screening.round import Round


@dataclass
class OpenTrial:
    """A trial that is running.

    Attributes:
        number: in the study.
        seen: what its sampler sees of it.
        candidate: that is screened.
        params: its parameters, as Optuna stores them.
        source: None where the space has no choice of it.
        rounds: reported so far.
        stops: numbers of the rounds after which it is to stop.
        resumed: whether an earlier driver had begun it.
    """

    number: int
    seen: MemoryTrial
    candidate: Candidate
    params: dict[str, Any]
    source: str | None
    rounds: list[Round] = field(default_factory=list)
    stops: set[int] = field(default_factory=set)
    resumed: bool = False
