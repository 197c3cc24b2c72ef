"""The screening sources of a space: each has a study, and so a sampler and a scale, of its own.

A proxy that trains on real data scores higher than one that trains on as many gradients of ten images a class, whatever
their tickets are worth: proxy accuracies of different sources are not on one scale. Compared with each other, the
sources with the lower scale would lose their trials before anyone knew. So trials take turns over the sources, each is
compared with those of its own source, and the sources meet where they can be compared: in retraining.
"""

from __future__ import annotations

from optuna.trial import FrozenTrial

from search.space import ChoiceParameter, Space

SOURCE = "source"


def source_of(trial: FrozenTrial) -> str | None:
    """Return the source of a trial; None where the space has no choice of it."""
    source: str | None = trial.params.get(SOURCE)
    return source


def spaces_by_source(space: Space) -> dict[str | None, Space]:
    """Return the part of the space under each source, in their order; all of it, under None, without a choice of them.

    In a part the source is a constant.
    """
    for parameter in space.parameters:
        if parameter.name == SOURCE and isinstance(parameter, ChoiceParameter):
            return {str(value): space.fixed(SOURCE, value) for value in parameter.values}
    return {None: space}
