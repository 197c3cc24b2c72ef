"""Laws that hold for every space, checked on random ones against the mapping they were written as."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dp_core.errors import UserError
from search.space import Space

CHOICES: list[Any] = ["none", None, True, False, 3, 0.25, [1, 2], ["a"], "b"]
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])

Leaves = dict[str, Any]


@st.composite
def leaf(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(["choice", "choice", "int", "float", "log", "step", "constant"]))
    low = draw(st.integers(-5, 5))
    if kind == "choice":
        return {"choice": draw(st.lists(st.sampled_from(CHOICES), min_size=1, max_size=3, unique_by=repr))}
    if kind == "int":
        return {"int": [low, low + draw(st.integers(0, 3))]}
    if kind == "step":
        return {"float": [low, low + 0.25 * draw(st.integers(0, 3))], "step": 0.25}
    if kind == "constant":
        return draw(st.sampled_from(["fixed", 7, None]))
    return {"float": [10.0**low, 10.0**low * draw(st.sampled_from([1, 2.5]))], "log": kind == "log"}


@st.composite
def leaves(draw: st.DrawFn) -> Leaves:
    """Dotted names to leaves, in random order, some with conditions on a choice or constant of a lower number."""
    made: Leaves = {}
    for index in range(draw(st.integers(1, 6))):
        entry = draw(leaf())
        targets = {name: _options(item) for name, item in made.items() if _options(item)}
        if isinstance(entry, dict) and targets:
            chosen = draw(st.lists(st.sampled_from(sorted(targets)), max_size=2, unique=True))
            when = {name: draw(st.lists(st.sampled_from(targets[name]), min_size=1, max_size=2)) for name in chosen}
            entry |= {"when": when} if when else {}
        made[draw(st.sampled_from(["", "g.", "g.h.", "k."])) + f"p{index}"] = entry
    names = draw(st.permutations(sorted(made)))
    return {name: made[name] for name in names}


def _options(item: Any) -> list[Any]:
    """The values of a choice or constant, without lists, which under `when` would read as lists of values."""
    options = item.get("choice", []) if isinstance(item, dict) else [item]
    return [option for option in options if not isinstance(option, list)]


def written(entries: Leaves) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, entry in entries.items():
        *groups, last = name.split(".")
        group = tree
        for part in groups:
            group = group.setdefault(part, {})
        group[last] = entry
    return tree


def parsed(entries: Leaves) -> Space:
    try:
        return Space.parse(written(entries), "space")
    except UserError as error:
        assume("nothing to search" not in str(error) and "can never be active" not in str(error))
        raise


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def is_met(entry: Any, values: Mapping[str, Any]) -> bool:
    conditions = entry.get("when", {}) if isinstance(entry, dict) else {}
    return all(
        target in values and any(repr(values[target]) == repr(value) for value in wanted)
        for target, wanted in conditions.items()
    )


def corners_as_written(entry: Any) -> list[Any]:
    if not isinstance(entry, dict):
        return [entry]
    return list(entry.get("choice") or dict.fromkeys(entry.get("int") or map(float, entry["float"])))


def all_as_written(entry: Any) -> list[Any]:
    if isinstance(entry, dict) and "int" in entry:
        return list(range(entry["int"][0], entry["int"][1] + 1))
    if isinstance(entry, dict) and "step" in entry:
        low, high = entry["float"]
        return [low + 0.25 * index for index in range(int((high - low) / 0.25) + 1)]
    return corners_as_written(entry)


def every_candidate(entries: Leaves, values_of: Any) -> set[str]:
    """Brute force: the product of all values, conditions then striking out what is not met, until nothing changes."""
    found = set()
    for combination in itertools.product(*(values_of(entry) for entry in entries.values())):
        values = dict(zip(entries, combination, strict=True))
        while unmet := [name for name in values if not is_met(entries[name], values)]:
            for name in unmet:
                del values[name]
        found.add(repr(sorted(values.items())))
    return found


def key(candidate: Mapping[str, Any]) -> str:
    return repr(sorted(flat(candidate)))


def check(entries: Leaves, candidate: Mapping[str, Any]) -> None:
    """Every active parameter is there and within its bounds, and no other."""
    values = dict(flat(candidate))
    assert set(values) == {name for name, entry in entries.items() if is_met(entry, values)}
    for name, value in values.items():
        entry = entries[name]
        if not isinstance(entry, dict) or "choice" in entry:
            assert repr(value) in map(repr, corners_as_written(entry))
        else:
            low, high = entry.get("int") or entry["float"]
            assert low <= value <= high
            assert isinstance(value, int if "int" in entry else float)
            assert "step" not in entry or math.isclose((value - low) % 0.25, 0, abs_tol=1e-9)


@QUICK
@given(leaves(), st.integers(0, 2**16))
def test_suggestions_are_in_bounds_and_restored_from_what_is_stored(entries: Leaves, seed: int) -> None:
    space = parsed(entries)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(5):
        trial = study.ask()
        candidate = space.suggest(trial)
        check(entries, candidate)
        restored = space.nest(study.trials[-1].params)
        assert repr(restored) == repr(candidate)
        study.tell(trial, 0.0)


@QUICK
@given(leaves())
def test_corners_are_the_whole_product_within_the_limit(entries: Leaves) -> None:
    corners = list(parsed(entries).corners(limit=10**6))
    assert len({key(corner) for corner in corners}) == len(corners)
    assert {key(corner) for corner in corners} == every_candidate(entries, corners_as_written)


@QUICK
@given(leaves(), st.integers(1, 12), st.integers(0, 3))
def test_corners_beyond_the_limit_cover_every_value(entries: Leaves, limit: int, seed: int) -> None:
    space = parsed(entries)
    corners = list(space.corners(limit, seed))
    for corner in corners:
        check(entries, corner)
    assert len({key(corner) for corner in corners}) == len(corners)
    covered = {(name, repr(value)) for corner in corners for name, value in flat(corner)}
    assert covered == {(name, repr(v)) for name, entry in entries.items() for v in corners_as_written(entry)}
    assert corners == list(space.corners(limit, seed))
    assert len(corners) <= max(limit, sum(len(corners_as_written(entry)) for entry in entries.values()))


@QUICK
@given(leaves())
def test_size_counts_every_candidate_once(entries: Leaves) -> None:
    ranges = [entry["float"] for entry in entries.values() if isinstance(entry, dict) and "log" in entry]
    if any(low < high for low, high in ranges):
        assert parsed(entries).size() == math.inf
    else:
        assert parsed(entries).size() == len(every_candidate(entries, all_as_written))


def test_corners_of_a_large_space_fill_the_limit_quickly() -> None:
    space = Space.parse({f"p{index}": {"choice": ["a", "b", "c"]} for index in range(40)})
    corners = list(space.corners(limit=300))
    assert len(corners) == 300
    assert space.size() == 3**40


def test_size_of_many_independent_conditions_is_quick() -> None:
    pairs = {f"s{i}": {"choice": [True, False]} for i in range(40)}
    depending = {f"v{i}": {"int": [1, 4], "when": {f"s{i}": True}} for i in range(40)}
    assert Space.parse({**depending, **pairs}).size() == 5**40
