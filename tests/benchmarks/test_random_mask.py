"""The arms of benchmarks/random_mask.py are the controls that they say they are."""

from __future__ import annotations

import pytest
import torch

from benchmarks.random_mask import ARMS, ahead, mask_of
from dp_core.models import ModelSpec, build
from dp_core.pruning import CRITERIA, Mask, Ticket, no_examples


def ticket() -> Ticket:
    spec = ModelSpec("convnet", {"depth": 2, "width": 6})
    model = build(spec, (3, 8, 8), 5, seed=3)
    dense = Mask.ones(model)
    mask = CRITERIA["magnitude"](model, dense, 0.8, torch.Generator().manual_seed(0), no_examples)
    return Ticket(spec, (3, 8, 8), 5, model.state_dict(), mask, history=[], provenance={})


def test_every_arm_but_dense_keeps_as_many_weights_as_the_ticket() -> None:
    found = ticket()
    kept = {arm: mask_of(arm, found, seed=1).kept for arm in ARMS}
    assert kept == dict.fromkeys(kept, found.mask.kept) | {"dense": found.mask.total}


def test_only_the_layerwise_arm_keeps_the_layers_densities_and_both_move_the_weights() -> None:
    found = ticket()
    layerwise, *others = (mask_of(arm, found, seed=1) for arm in ("layerwise", "random", "erk"))
    assert layerwise.layer_densities() == found.mask.layer_densities()
    assert all(mask.layer_densities() != found.mask.layer_densities() for mask in others)
    for mask in (layerwise, *others):
        assert any(not torch.equal(mask[name], found.mask[name]) for name in mask)


def test_seeds_draw_different_masks_and_the_same_seed_the_same() -> None:
    found = ticket()
    first, again, other = (mask_of("random", found, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_lead_is_paired_by_seed_with_students_interval() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1, and 4.302653 is Student's 97.5 % quantile with two degrees of freedom.
    found = ahead([11.0, 22.0, 33.0], [10.0, 20.0, 30.0])
    half = 4.302653 / 3**0.5
    assert found == {"mean": 2.0, "low": pytest.approx(2 - half, abs=1e-6), "high": pytest.approx(2 + half, abs=1e-6)}
    assert ahead([2.0], [1.0]) == {"mean": 1.0, "low": None, "high": None}
