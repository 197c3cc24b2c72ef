"""The architectures that a proxy evaluation ranks: those of the space that are drawn, and what each costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dp_core.cost import CostModel
from dp_core.errors import UserError
from dp_core.models import ARCHITECTURES, ModelSpec, build, check_forward, stratified
from dp_core.models.spaces import edge_operations
from search.proxies.architecture import Architecture
from search.proxies.space import NASBENCH, SpaceSection


def known_names(section: SpaceSection) -> Collection[str]:
    """Return the labels of all architectures of the space, which are what a table of accuracies has to call them by.

    Those of NAS-Bench-201 are its architecture strings, others as `ModelSpec.label`.

    Raises:
        UserError: two architectures have the same.
    """
    return _named(section).keys()


def architectures(
    section: SpaceSection,
    seed: int,
    input_shape: tuple[int, int, int],
    classes: int,
    names: Collection[str] | None = None,
) -> list[Architecture]:
    """Return the architectures to rank, in the order of the space.

    Every architecture is built once and run on zeros; with `max_flops` every architecture of the space is. Of those of
    NAS-Bench-201 it is one for each multiset of operations, on which alone their costs depend.

    Args:
        section: the space.
        seed: draws the sample.
        input_shape: channels, height, width of an image.
        classes: number of classes.
        names: the labels of those that there are accuracies of, to which the space is restricted before anything is
            drawn from it; None restricts nothing.

    Raises:
        UserError: two architectures have the same label, one cannot be built for such images, `max_flops` leaves none,
            or there are fewer than `architectures`.
    """
    named = _named(section)
    among = ""
    if names is not None:
        wanted = frozenset(names)
        named = {label: spec for label, spec in named.items() if label in wanted}
        among = " in the table"
    priced: Mapping[str, Architecture] = {}
    if section.max_flops is not None:
        priced = _priced(named, section, input_shape, classes)
        named = _affordable(priced, section.max_flops)
        among += f" of at most {section.max_flops:,.15g} FLOPs"
    if section.architectures is not None:
        if section.architectures > len(named):
            raise UserError(
                f"'space.architectures' is {section.architectures}, but there are {len(named)} architectures{among}."
            )
        drawn = stratified(list(named.values()), section.architectures, seed)
        named = {_label(section, spec): spec for spec in drawn}
    if section.max_flops is None:
        priced = _priced(named, section, input_shape, classes)
    return [priced[label] for label in named]


def _named(section: SpaceSection) -> dict[str, ModelSpec]:
    named: dict[str, ModelSpec] = {}
    for spec in section.specs:
        label = _label(section, spec)
        if label in named:
            key = "hyperparameters" if section.hyperparameters else "models"
            raise UserError(f"'space.{key}' makes the architecture '{label}' more than once.")
        named[label] = spec
    return named


def _label(section: SpaceSection, spec: ModelSpec) -> str:
    return str(spec.hyperparameters["architecture"]) if section.kind == NASBENCH else spec.label()


def _affordable(priced: Mapping[str, Architecture], max_flops: float) -> dict[str, ModelSpec]:
    named = {label: architecture.spec for label, architecture in priced.items() if architecture.flops <= max_flops}
    if priced and not named:
        least = min(priced.values(), key=lambda architecture: architecture.flops)
        raise UserError(
            f"'space.max_flops' is {max_flops:,.15g}, which leaves no architecture: the cheapest, '{least.label}', "
            f"has {least.flops:,} FLOPs."
        )
    return named


def _priced(
    named: Mapping[str, ModelSpec], section: SpaceSection, input_shape: tuple[int, int, int], classes: int
) -> dict[str, Architecture]:
    costs: dict[tuple[str, ...], tuple[int, int]] = {}
    priced = {}
    for label, spec in named.items():
        alike = tuple(sorted(edge_operations(label))) if section.kind == NASBENCH else (label,)
        if alike not in costs:
            costs[alike] = _cost(label, spec, input_shape, classes)
        priced[label] = Architecture(label, spec, *costs[alike])
    return priced


def _cost(label: str, spec: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> tuple[int, int]:
    """Return the parameters of the network and the FLOPs of its forward pass of one image."""
    try:
        model = build(spec, input_shape, classes, seed=0)
        if spec.name not in ARCHITECTURES:  # ours take what they are built for
            check_forward(model, label, input_shape, classes)
        cost = CostModel(model, input_shape)()
    except UserError as error:
        raise UserError(f"'space': the architecture '{label}' cannot be ranked: {error}") from error
    return cost.parameters, cost.flops_dense
