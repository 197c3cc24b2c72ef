"""What the masks are worth that a distilled set finds in few steps, beside those of other data at equal cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dp_core.data import ImageDataset
from dp_core.distillation import DistilledSet
from dp_core.distillation.judging import judging_recipe
from dp_core.models import ModelSpec
from dp_core.pruning import geometric_schedule
from dp_core.quality.ticket_bench import RANDOM_MASK, TicketBench
from dp_core.training import Recipe, TrainingData

REAL = "real"
"""What rows call real data with as many image-gradients as the set."""
DENSE = "dense"


@dataclass(frozen=True)
class TicketTrial:
    """How masks are found and what is done with them.

    Args:
        steps: trainings between two prunings, each at least 1; every number is a trial of its own.
        sparsity: of the tickets, above 0 and below 1.
        rounds: prunings on the way there, at least 1; after each all weights go back to initialisation.
        retraining: of a ticket on real data.
    """

    steps: tuple[int, ...] = (10, 30, 100)
    sparsity: float = 0.9
    rounds: int = 8
    retraining: Recipe = field(
        default_factory=lambda: Recipe(
            optimizer="adamw", learning_rate=3e-3, steps=300, batch_size=128, augmentation="flip_crop"
        )
    )


USUAL = TicketTrial()


def mask_quality(
    distilled: DistilledSet,
    train: ImageDataset,
    validation: ImageDataset,
    spec: ModelSpec,
    trial: TicketTrial = USUAL,
    *,
    controls: Mapping[str, DistilledSet],
    seeds: Sequence[int] = (0,),
    tell: Callable[[str], None] = lambda sentence: None,
) -> list[dict[str, Any]]:
    """Find tickets on a set and on its rivals, retrain them on real data and measure their validation accuracy.

    Tickets are lottery tickets: magnitude over the whole network, `rounds` rounds, rewound to initialisation. Each
    source trains by the `judging_recipe` of a set without a learned rate, in batches of the set's size, which gives all
    sets of this size and real data the same image-gradients. (A learned rate is for plain SGD, whose few steps hardly
    move the weights: the largest would be those of the widest initialisation, and layers would be lost.) `random_mask`
    has Erdős–Rényi-Kernel layers (the stronger random control) and `dense` all weights: floor and ceiling. All tickets
    of a seed have the same initial weights and the same retraining, in the standardised space of `train`. What diverges
    has the accuracy of chance.

    Args:
        distilled: the set.
        train: real images that tickets are retrained on.
        validation: real images held back from them.
        spec: the network.
        trial: steps, sparsity, rounds and retraining.
        controls: other sets by name, of real images at equal ipc for instance.
        seeds: one repetition each.
        tell: is told what is done next.

    Returns:
        Rows with `source` ("distilled", a control's name, "real", "random_mask" or "dense"), `steps` (None for the last
        two), `sparsity`, `rounds`, `seed`, `image_gradients` of finding the mask, and `accuracy` in [0, 1].

    Raises:
        UserError: the set is not for such images, or the network cannot be built or be as sparse.
    """
    distilled.check_fits(train.image_shape, train.class_names)
    bench = TicketBench(train, validation, spec, trial.retraining)
    bench.check(trial.sparsity)
    # The first of a schedule is the dense network.
    sparsities = geometric_schedule(trial.sparsity, trial.rounds)[1:]
    rows = []
    for seed, steps in itertools.product(seeds, trial.steps):
        for source, (data, recipe) in _sources(bench, distilled, controls, steps).items():
            tell(f"{source}, {steps} steps a round")
            masks, gradients = bench.find(data, recipe, sparsities, seed)
            mask = masks[-1] if masks else None
            found = {"source": source, "steps": steps, "sparsity": trial.sparsity, "rounds": trial.rounds, "seed": seed}
            rows.append({**found, "image_gradients": gradients, "accuracy": bench.retrained(mask, seed)})
    for seed in seeds:
        for source, mask, sparsity in (
            (RANDOM_MASK, bench.random_mask(trial.sparsity, seed), trial.sparsity),
            (DENSE, bench.dense, 0.0),
        ):
            tell(source)
            found = {"source": source, "steps": None, "sparsity": sparsity, "rounds": None, "seed": seed}
            rows.append({**found, "image_gradients": 0, "accuracy": bench.retrained(mask, seed)})
    return rows


def _sources(
    bench: TicketBench, distilled: DistilledSet, controls: Mapping[str, DistilledSet], steps: int
) -> dict[str, tuple[TrainingData, Recipe]]:
    """Return for every source what is trained on between prunings, and how."""
    recipe = judging_recipe(replace(distilled, learning_rate=None), steps)
    sets = {"distilled": distilled, **controls}
    found = {name: (TrainingData(*each.training_data()), recipe) for name, each in sets.items()}
    return {**found, REAL: (bench.real, recipe)}
