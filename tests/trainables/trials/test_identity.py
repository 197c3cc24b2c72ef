"""What makes two proposals one candidate: that the same would be trained, in whatever words."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from trainables import Candidate
from trainables.trials.identity import identity_of

MODEL = {"name": "convnet", "depth": 2, "width": 8}
REAL: dict[str, Any] = {"model": MODEL, "sparsity": 0.8, "recipe": {"steps": 30, "batch_size": 20}}
SUBSET: dict[str, Any] = {**REAL, "source": "subset", "ipc": 10}


def same(one: dict[str, Any], other: dict[str, Any], ladder: tuple[int, ...] = ()) -> bool:
    first, second = (identity_of(Candidate.parse(written, 10), 10, ladder) for written in (one, other))
    return first == second


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (REAL, {**REAL, "source": "real"}),  # the source of a space without ipc
        (REAL, {**REAL, "source": "real", "ipc": 7}),  # of no use on real images
        (REAL, {**REAL, "sparsity": 0.1 + 0.7}),  # 0.7999999999999999
        (REAL, {**REAL, "model": {"width": 8.0, "depth": 2, "name": "convnet"}}),
        (REAL, {**REAL, "model": {**MODEL, "norm": "instance", "pooling": "average"}}),  # convnet's defaults
        (REAL, {**REAL, "model": {**MODEL, "initialisation": "default"}}),
        (REAL, {**REAL, "recipe": {"steps": 30, "batch_size": 20, "learning_rate": 1e-2}}),
        # Adam has no momentum.
        (
            {**REAL, "recipe": {"steps": 30, "optimizer": "adam", "momentum": 0.5}},
            {**REAL, "recipe": {"steps": 30, "optimizer": "adam"}},
        ),
        # 100 images in batches of 20: five steps an epoch, and 600 image-gradients are 30 steps.
        (SUBSET, {**SUBSET, "recipe": {"epochs": 6, "batch_size": 20}}),
        (SUBSET, {**SUBSET, "recipe": {"batch_size": 20}, "image_gradients": 619}),
        # A batch is never larger than the set.
        (
            {**SUBSET, "recipe": {"steps": 30, "batch_size": 100}},
            {**SUBSET, "recipe": {"steps": 30, "batch_size": 4096}},
        ),
    ],
)
def test_other_words_for_one_training_are_one_candidate(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert same(first, second)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": {**MODEL, "width": 9}},
        {"model": {**MODEL, "norm": "batch"}},
        {"model": {**MODEL, "initialisation": "kaiming_normal"}},
        {"sparsity": 0.801},
        {"source": "distilled"},
        {"ipc": 11},
        {"recipe": {"steps": 31, "batch_size": 20}},
        {"recipe": {"steps": 30, "batch_size": 20, "momentum": 0.5}},
        {"recipe": {"steps": 30, "batch_size": 21}},
    ],
)
def test_what_trains_otherwise_is_another_candidate(changed: dict[str, Any]) -> None:
    assert not same(SUBSET, {**SUBSET, **changed})


def test_a_truth_value_is_no_number() -> None:
    assert not same({**REAL, "model": {**MODEL, "x": True}}, {**REAL, "model": {**MODEL, "x": 1}})


def test_the_rungs_below_tell_candidates_apart() -> None:
    # On its own set of 100 images both are 30 steps; on the 20 of the rung below a budget pays for 30, too.
    steps, budget = SUBSET, {**SUBSET, "recipe": {"batch_size": 100}, "image_gradients": 3000}
    whole = {**SUBSET, "recipe": {"steps": 30, "batch_size": 100}}
    assert same(whole, budget)
    assert not same(whole, budget, ladder=(2,))  # 150 steps of all 20 images against 30
    assert same(steps, {**steps, "image_gradients": None}, ladder=(2,))


def test_defaults_of_a_function_of_ones_own_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        from torch import nn

        def tower(shape, classes, storeys=3, *, balcony=False):
            return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))
    """
    (tmp_path / "architect.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(tmp_path))
    plain = {**REAL, "model": {"name": "architect:tower"}}
    assert same(plain, {**REAL, "model": {"name": "architect:tower", "balcony": False, "storeys": 3}})
    assert not same(plain, {**REAL, "model": {"name": "architect:tower", "storeys": 4}})
