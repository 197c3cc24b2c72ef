"""What the tables say of the distilled sets that methods train on: what they cost to make, and their space."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dp_core.data.preprocessing import ZCA
from dp_core.distillation import DistilledLibrary, DistilledSet
from dp_core.errors import UserError
from search.comparison.preparation import ComparisonDesign
from trainables.laboratory import Method


def sets_at_hand(prepared: ComparisonDesign) -> dict[str, DistilledSet]:
    """Return the ready-made sets of a comparison and those of its library that have been made; makes none."""
    config, train = prepared.config, prepared.images
    library, seed = DistilledLibrary(config.distill.directory), config.run.seed
    found = dict(prepared.sets)
    for ipc in prepared.images_per_class:
        if library.holds(prepared.distiller, train, ipc, seed):
            with suppress(UserError):  # a damaged set ends the training on it, not the report of what is done
                found[f"distilled-{ipc}"] = DistilledSet.load(library.path(prepared.distiller, train, ipc, seed))
    return found


def set_facts(methods: Mapping[str, Method], sets: Mapping[str, DistilledSet]) -> dict[str, dict[str, Any]]:
    """Return for each method `set_image_gradients`, `set_seconds` and `space`, columns of its result rows.

    A mask that starts from another method's rests on that method's set, too, so the costs are sums over the different
    sets of a method and of those that it builds on. They are None without a set, and if the cost of one is not known,
    as of an imported set. `space` is "whitened" where the rounds train on ZCA-whitened images, "standardised" where
    they train on others, and None for a method that sees no images.
    """
    return {
        name: {**_costs(_keys(method, methods), sets), "space": _space(method, sets)}
        for name, method in methods.items()
    }


def _keys(method: Method, methods: Mapping[str, Method]) -> set[str]:
    own = set() if method.set_key is None else {method.set_key}
    return own if method.parent is None else own | _keys(methods[method.parent], methods)


def _costs(keys: set[str], sets: Mapping[str, DistilledSet]) -> dict[str, Any]:
    costs = [sets[key].provenance.get("cost") or {} if key in sets else {} for key in sorted(keys)]
    found = {unit: [cost.get(unit) for cost in costs] for unit in ("image_gradients", "seconds")}
    return {f"set_{unit}": None if not spent or None in spent else sum(spent) for unit, spent in found.items()}


def _space(method: Method, sets: Mapping[str, DistilledSet]) -> str | None:
    key = method.set_key if method.space is None else method.space
    if key is not None and key not in sets:
        return None
    if key is not None and isinstance(sets[key].preprocessing, ZCA):
        return "whitened"
    return None if method.source is None else "standardised"
