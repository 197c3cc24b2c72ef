"""What can be seen wrong with the deciding part of a search before it starts."""

from __future__ import annotations

import math

import torch

from dp_core.cost import latency_ms
from dp_core.data import Splits
from dp_core.device import default_device
from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.proxies import ProxyInputs
from search.config.models import SearchConfig
from search.config.objectives import objectives_of
from search.pipeline.warm_start import check_runs, proxy_settings
from search.space import Space
from search.study.constraints import Limits, check_feasible
from search.study.sampling import check_sampler
from search.study.stopping import check_stopping
from search.study.storage.store import check_url
from trainables.screening.ladder import zero_cost_proxy


def check_search(config: SearchConfig, space: Space) -> None:
    """See that sampler, objectives, early stopping, promotion, ladder and storage fit the space and each other.

    Raises:
        UserError: the first that does not.
    """
    settings = config.search
    objectives = objectives_of(settings.objectives)
    check_sampler(settings.sampler, space, objectives, settings.trials)
    check_stopping(settings.early_stopping, len(objectives))
    if config.promote.by == "pareto" and len(objectives) == 1:
        raise UserError(
            f"'promote.by' is pareto, but there is one objective, '{objectives[0].name}': name another in "
            "'search.objectives', or promote by score."
        )
    if settings.storage is not None:
        check_url(settings.storage)


def check_start(config: SearchConfig, space: Space, splits: Splits, limits: Limits) -> None:
    """See that the zero-cost rung, the constraints and the earlier runs are possible with these images.

    Raises:
        UserError: the first that is not.
    """
    _check_zero_cost(config.search.ladder.zero_cost, splits)
    check_feasible(space, limits, splits.train.classes, config.run.seed)
    data = {"train": splits.train.digest, "validation": splits.validation.digest, "test": splits.test.digest}
    check_runs(config.search.start.runs, data, proxy_settings(config))


def _check_zero_cost(name: str | None, splits: Splits) -> None:
    if name is None:
        return
    inputs = ProxyInputs(splits.train, splits.validation, {}, standardisation_of(splits.train), torch.device("cpu"))
    try:
        zero_cost_proxy(name).check(inputs)
    except UserError as error:
        raise UserError(f"'search.ladder.zero_cost': {error}") from error


def limits_of(config: SearchConfig, splits: Splits) -> Limits:
    """Return the constraints of the search; latency is measured on this machine."""
    device, shape, classes = default_device(), splits.train.image_shape, splits.train.classes

    def latency(spec: ModelSpec) -> float:
        try:
            return latency_ms(build(spec, shape, classes, seed=0).to(device), shape, device)
        except (MemoryError, RuntimeError):  # no memory for it here: a worker may have more, and will say so if not
            return math.inf

    return Limits(config.search.constraints, shape, classes, latency)
