"""Ways are paired, intervals are Student's, and an interrupted comparison goes on where it was."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import precision
from benchmarks.pairs import difference, t_interval
from benchmarks.precision import (
    RECIPE,
    REFERENCE,
    WAYS,
    Images,
    Network,
    Record,
    accuracy_of,
    compared,
    kept_records,
    settings_of,
    train_missing,
    training_of,
)
from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError
from dp_core.kernels import block_library
from dp_core.models import ModelSpec
from dp_core.training import Training, TrainingData, evaluate
from tests.dp_core.small import random_dataset

NETWORK = Network(
    ModelSpec("convnet", {"depth": 1, "width": 4, "norm": "batch"}),
    replace(RECIPE, epochs=2, batch_size=6),
)
needs_kernels = pytest.mark.skipif(block_library() is None, reason="no compiler for fused blocks")


@pytest.fixture
def images() -> Images:
    train, test = random_dataset(), random_dataset(seed=1)
    return Images(train, test, standardisation_of(train))


@needs_kernels
def test_the_ways_of_a_seed_have_equal_weights_and_steps_and_seeds_differ(images: Images) -> None:
    trainings = {way: training_of(NETWORK, way, images, seed=3) for way in WAYS}
    other = training_of(NETWORK, REFERENCE, images, seed=4)
    reference = trainings[REFERENCE]
    for way, training in trainings.items():
        assert (training.network.mode, training.network.bfloat16) == (way.split()[1], way.startswith("bfloat16"))
        for name, value in training.model.state_dict().items():
            assert torch.equal(value, reference.model.state_dict()[name])
        batches, others = training.prepare_step(), reference.prepare_step()
        assert torch.equal(batches[0], others[0])
        assert torch.equal(batches[1], others[1])
    first = "blocks.0.weight"
    assert not torch.equal(other.model.state_dict()[first], reference.model.state_dict()[first])
    assert not torch.equal(other.prepare_step()[0], reference.prepare_step()[0])


@needs_kernels
def test_the_accuracy_is_that_of_the_network_that_was_trained(images: Images) -> None:
    training = training_of(NETWORK, "float32 fused", images, seed=0)
    training.run()
    test = TrainingData(images.test.images, images.test.labels, images.space)
    assert accuracy_of(training, test, batch_size=7) == evaluate(training.model, test, precision="float32").accuracy
    assert training.model.training


@needs_kernels
def test_what_is_done_is_kept_and_not_done_again(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, int]] = []
    real = precision.training_of

    def noting(network: Network, way: str, images: Images, seed: int) -> Training:
        started.append((way, seed))
        return real(network, way, images, seed)

    def interrupted(network: Network, way: str, images: Images, seed: int) -> Training:
        if len(started) == 4:
            raise KeyboardInterrupt
        return noting(network, way, images, seed)

    monkeypatch.setattr(precision, "training_of", interrupted)
    records: list[Record] = []
    with pytest.raises(KeyboardInterrupt):
        train_missing({"batch": NETWORK}, images, 2, records, records.append)
    assert [(record["way"], record["seed"]) for record in records] == started

    report = {"machine": "m", "versions": "v", "data": images.settings()}
    output = tmp_path / "found.json"
    output.write_text(json.dumps({**report, "trainings": records}), encoding="utf-8")
    kept = kept_records(output, report, {"batch": settings_of(NETWORK)})
    assert kept == records
    before = len(kept)
    started.clear()
    monkeypatch.setattr(precision, "training_of", noting)
    train_missing({"batch": NETWORK}, images, 2, kept, kept.append)
    assert before + len(started) == 2 * len(WAYS)
    assert started == [("float32 fused", 1), ("bfloat16 fused", 1)]


def test_an_output_of_other_settings_is_not_continued(images: Images, tmp_path: Path) -> None:
    report = {"machine": "m", "versions": "v", "data": images.settings()}
    record = {"network": "batch", "way": REFERENCE, "seed": 0, "settings": settings_of(NETWORK), "accuracy": 0.5}
    output = tmp_path / "found.json"
    assert kept_records(output, report, {}) == []
    output.write_text(json.dumps({**report, "trainings": [record]}), encoding="utf-8")
    longer = Network(NETWORK.spec, replace(NETWORK.recipe, epochs=3))
    with pytest.raises(UserError, match=r"found\.json has trainings of 'batch' with other settings"):
        kept_records(output, report, {"batch": settings_of(longer)})
    with pytest.raises(UserError, match="another 'machine'"):
        kept_records(output, {**report, "machine": "other"}, {"batch": settings_of(NETWORK)})
    assert kept_records(output, report, {"layer": settings_of(longer)}) == [record]


def test_the_interval_is_students() -> None:
    # Mean 3, standard deviation √2.5, error √0.5; t for four degrees of freedom and 95 % is 2.776 in every table.
    low, high = t_interval([1, 2, 3, 4, 5])
    assert low == pytest.approx(3 - 2.7764 * math.sqrt(0.5), abs=1e-4)
    assert high == pytest.approx(3 + 2.7764 * math.sqrt(0.5), abs=1e-4)


@pytest.mark.parametrize(
    ("values", "contains_0", "below_one_point"),
    [
        ([0.02, -0.02, 0.01], True, True),
        ([0.004, 0.005, 0.006], False, True),
        ([0.04, 0.05, 0.06], False, False),
        ([-0.3, 0.0, 0.6], True, False),
    ],
)
def test_noise_is_an_interval_around_0_and_less_than_a_point(
    values: list[float], contains_0: bool, below_one_point: bool
) -> None:
    found = difference(values)
    assert (found["contains_0"], found["below_one_point"]) == (contains_0, below_one_point)
    assert found["within_noise"] == (contains_0 and below_one_point)


def test_differences_are_taken_seed_by_seed() -> None:
    def record(way: str, seed: int, accuracy: float) -> Record:
        return {"network": "batch", "way": way, "seed": seed, "accuracy": accuracy}

    eager = [record(REFERENCE, seed, accuracy) for seed, accuracy in enumerate((0.5, 0.6, 0.7))]
    fused = [record("bfloat16 fused", seed, accuracy) for seed, accuracy in ((2, 0.75), (0, 0.5), (5, 0.1))]
    rows = {row["way"]: row for row in compared([*eager, *fused])}
    assert rows["bfloat16 fused"]["differences"] == pytest.approx([0, 0.05])
    assert rows[REFERENCE]["mean"] == pytest.approx(0.6)
    assert rows[REFERENCE]["std"] == pytest.approx(0.1)
    assert rows["float32 fused"]["within_noise"] is None
