"""What all trials of a search share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dp_core.data.preprocessing import Standardisation
from dp_core.data.reading import Stream
from dp_core.distillation import DistilledSet
from trainables.screening.ladder import LadderPlan
from trainables.screening.score import Score
from trainables.trials.shared_dataset import SharedDataset


@dataclass(frozen=True, eq=False)
class ScreeningContext:
    """What all trials of a search share.

    Attributes:
        train: source of the `real` candidates' images.
        validation: held-back real images that score the proxies.
        sets: distilled sets and random subsets by `Candidate.data_key`, those of the ladder's rungs among them.
        space: preprocessing of real images for `real` candidates.
        prune_fraction: share of the remaining weights that a round removes.
        criterion: name in CRITERIA.
        rewind_step: see PruningPlan.
        replicates: how often each candidate is pruned, from other initial weights and with other seeds.
        score: what the search maximises.
        seed: the run's seed; a trial's own follows from it and the trial's number.
        threads: CPU threads of a trial.
        stream: when the images of `real` candidates are streamed, see `training_data`.
        round_seconds: after which a round is taken to hang, and its worker ended; None for never.
        ladder: rungs below and above a candidate's own screening.
    """

    train: SharedDataset
    validation: SharedDataset
    sets: Mapping[str, DistilledSet]
    space: Standardisation
    prune_fraction: float
    criterion: str
    rewind_step: int
    replicates: int
    score: Score
    seed: int
    threads: int
    stream: Stream
    round_seconds: float | None = None
    ladder: LadderPlan = field(default_factory=LadderPlan)
