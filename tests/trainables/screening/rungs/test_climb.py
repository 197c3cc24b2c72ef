"""What a climb reports, against looks taken one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.models import ModelSpec, build
from dp_core.proxies import PROXIES, ProxyInputs
from dp_core.pruning import Ticket
from dp_core.seeds import derive_seed
from dp_core.training import Recipe, Training, TrainingData, evaluate
from tests.trainables.driving import (
    CLASSES,
    SHAPE,
    SPACE,
    TINY,
    TINY_PARAMETERS,
    candidate,
    dataset,
    distilled_set,
    lasting,
    rows,
    screening,
    screening_context,
    ticket_in,
)
from tests.trainables.screening.test_resuming import assert_same_ticket
from trainables import LadderPlan, ScreeningContext, ScreeningTrainable
from trainables.screening.ladder import zero_cost_proxies

RECIPE = Recipe(epochs=9.0, batch_size=20, learning_rate=0.05, schedule="cosine", precision="float32")
LADDER = LadderPlan(zero_cost="nwot", ipc=(2, 1), real_epochs=2, recipe=RECIPE)
SETS = {f"{source}-{ipc}": distilled_set(ipc) for source in ("distilled", "subset") for ipc in (1, 2, 4)}
CLIMBER = candidate(source="distilled", ipc=4)
FIDELITIES = ("nwot", "distilled-1", "distilled-2", "distilled-4", "real-epochs-2")


def context(ladder: LadderPlan = LADDER, **changes: Any) -> ScreeningContext:
    return screening_context(sets=SETS, ladder=ladder, **changes)


def climbing(proposal: Mapping[str, Any] = CLIMBER, ladder: LadderPlan = LADDER, **config: Any) -> ScreeningTrainable:
    return screening(context(ladder), proposal, trial=7, **config)


@pytest.fixture(scope="module")
def climbed() -> list[dict[str, Any]]:
    return [lasting(row) for row in rows(climbing())]


def test_a_row_says_where_it_was_taken(climbed: list[dict[str, Any]]) -> None:
    lengths = [1, 4, 4, 4, 2]  # four rounds to a sparsity of 4/5, two epochs
    places = [(rung, step + 1) for rung, length in enumerate(lengths) for step in range(length)]
    assert [(row["rung"], row["rung_round"]) for row in climbed] == places
    assert [row["round"] for row in climbed] == list(range(1, 16))
    assert [row["fidelity"] for row in climbed] == [FIDELITIES[rung] for rung, _ in places]
    assert [row["rung_done"] for row in climbed] == [step == lengths[rung] for rung, step in places]
    assert [row["status"] for row in climbed] == ["running"] * 14 + ["finished"]
    assert {row["latency_ms"] for row in climbed} == {None}
    assert {tuple(row) for row in climbed} == {tuple(climbed[0])}


def test_cost_adds_up_over_the_rungs(climbed: list[dict[str, Any]]) -> None:
    # NWOT only passes images forward; 2 steps a round of 3, 6 and 12 images; 48 real images in batches of 20 are 2.4
    # steps an epoch, 5 in two, of which 2 (5/2 to even) are in the first.
    spent = [0, 6, 12, 18, 24, 36, 48, 60, 72, 96, 120, 144, 168, 168 + 40, 168 + 100]
    assert [row["image_gradients"] for row in climbed] == spent
    seconds = [row["seconds"] for row in rows(climbing())]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_without_a_ladder_there_is_one_rung() -> None:
    for row in rows(screening(screening_context(), candidate())):
        assert (row["rung"], row["rung_round"], row["fidelity"]) == (0, row["round"], "real")
        assert row["rung_done"] is row["done"]


def measures(row: Mapping[str, Any]) -> dict[str, Any]:
    told = ("round", "rung", "rung_round", "rung_done", "fidelity", "image_gradients", "status", "done", "seconds")
    return {key: value for key, value in lasting(row).items() if key not in told}


@pytest.mark.parametrize("replicates", [1, 2])
@pytest.mark.parametrize(("rung", "ipc"), [(1, 1), (2, 2), (3, 4)])
def test_each_pruning_rung_is_the_screening_of_its_own_images_to_the_bit(rung: int, ipc: int, replicates: int) -> None:
    climb = screening(context(replicates=replicates), CLIMBER, trial=7)
    alone = screening(context(LadderPlan(), replicates=replicates), candidate(source="distilled", ipc=ipc), trial=7)
    found = [measures(row) for row in rows(climb) if row["rung"] == rung]
    assert found == [measures(row) for row in rows(alone)]


def test_a_zero_cost_rung_is_the_proxys_score_of_the_dense_network(climbed: list[dict[str, Any]]) -> None:
    inputs = ProxyInputs(dataset(16, 1), dataset(4, 2), SETS, SPACE, torch.device("cpu"))
    seed = derive_seed(derive_seed(5, "trial", 7), "zero cost")
    (reading,) = PROXIES["nwot"]().score(ModelSpec.from_dict(TINY), inputs, seed)
    row = climbed[0]
    assert row["score"] == reading.value
    assert math.isnan(row["proxy_accuracy"])
    assert math.isnan(row["proxy_loss"])
    assert (row["sparsity"], row["density"], row["parameters_left"]) == (0, 1, TINY_PARAMETERS)
    assert row["flops_dense"] == row["flops_remaining"] == 2 * (64 * 108 + 192)


@pytest.mark.parametrize("name", zero_cost_proxies())
def test_every_proxy_that_does_not_train_can_be_a_rung(name: str) -> None:
    model = {**TINY, "depth": 2, "norm": "batch"}
    row = climbing(candidate(model=model), LadderPlan(zero_cost=name)).train()
    assert (row["status"], row["fidelity"], row["rung_done"]) == ("running", name, True)
    assert math.isfinite(row["score"])
    expected = {"parameters": 0, "flops": 0, "nwot": 0, "synflow": 1}
    assert name not in expected or row["image_gradients"] == expected[name]


def test_real_epochs_train_the_ticket_on_real_images(climbed: list[dict[str, Any]], tmp_path: Path) -> None:
    ticket = ticket_of(climbing(ladder=LadderPlan()), tmp_path)
    recipe = replace(RECIPE, epochs=2.0)
    real, validation = (TrainingData(split.images, split.labels, SPACE) for split in (dataset(16, 1), dataset(4, 2)))
    seed = derive_seed(derive_seed(5, "trial", 7), "real epochs")
    training = Training(ticket.build(), real, recipe, seed=seed, mask=ticket.mask)
    for row, steps in zip(climbed[-2:], (2, 3), strict=True):
        training.run(steps)
        found = evaluate(training.model, validation, precision="float32")
        assert (row["proxy_accuracy"], row["proxy_loss"]) == (found.accuracy, found.loss)
        assert row["score"] == pytest.approx(found.accuracy * (row["parameters_left"] / 300) ** -0.07)
        assert row["sparsity"] == pytest.approx(0.8)
        assert (row["replicates"], row["proxy_accuracy_sem"]) == (1, None)
    assert training.finished


def ticket_of(trial: ScreeningTrainable, folder: Path) -> Ticket:
    for _ in rows(trial):
        pass
    trial.save(str(folder))
    return Ticket.load(folder / "ticket")


def test_the_ticket_is_that_of_the_last_pruning(climbed: list[dict[str, Any]], tmp_path: Path) -> None:
    top, alone = ticket_of(climbing(), tmp_path / "top"), ticket_of(climbing(ladder=LadderPlan()), tmp_path / "alone")
    assert all(torch.equal(top.mask[name], alone.mask[name]) for name in alone.mask)
    assert all(torch.equal(top.weights[name], alone.weights[name]) for name in alone.weights)
    untrained = build(
        ModelSpec.from_dict(TINY), SHAPE, len(CLASSES), seed=derive_seed(top.provenance["seed"], "weights")
    )
    assert all(torch.equal(top.weights[name], value) for name, value in untrained.state_dict().items())
    assert top.provenance["proxy_accuracy"] == climbed[-1]["proxy_accuracy"]
    history = json.loads((tmp_path / "top" / "ticket" / "card.json").read_text())["history"]
    assert [row["fidelity"] for row in history] == [row["fidelity"] for row in climbed]
    assert history[0]["proxy_accuracy"] is None


def test_of_replicates_the_best_ones_ticket_is_trained(tmp_path: Path) -> None:
    ladder = LadderPlan(real_epochs=1, recipe=RECIPE)
    chosen = set()
    for number in range(4):
        found = []
        for each in (ladder, LadderPlan()):
            trial = screening(context(each, replicates=3), CLIMBER, trial=number)
            found.append(ticket_of(trial, tmp_path / f"{number}-{each.real_epochs}"))
        top, alone = found
        assert all(torch.equal(top.mask[name], alone.mask[name]) for name in alone.mask)
        assert (top.provenance["replicate"], top.provenance["seed"]) == (
            alone.provenance["replicate"],
            alone.provenance["seed"],
        )
        assert top.provenance["replicates"] == 1
        chosen.add(top.provenance["replicate"])
    assert len(chosen) > 1


@pytest.mark.parametrize("steps", [0, 1, 3, 5, 13, 14, 15])
@pytest.mark.parametrize("way", ["restore", "resume_from"])
def test_a_climb_goes_on_bit_for_bit_wherever_it_was(
    climbed: list[dict[str, Any]], tmp_path: Path, steps: int, way: str
) -> None:
    interrupted = climbing()
    for _ in range(steps):
        interrupted.train()
    interrupted.save(str(tmp_path / "part"))
    resumed = climbing(resume_from=str(tmp_path / "part")) if way == "resume_from" else climbing()
    if way == "restore":
        resumed.restore(str(tmp_path / "part"))
    # NaN is not equal to itself, but as it is printed.
    expected = climbed[steps:] or climbed[-1:]  # a climb that has ended says its end again
    assert repr([lasting(row) for row in rows(resumed)]) == repr(expected)
    resumed.save(str(tmp_path / "resumed"))
    assert_same_ticket(Ticket.load(tmp_path / "resumed" / "ticket"), ticket_of(climbing(), tmp_path / "whole"))


def test_what_diverges_on_a_rung_does_not_come_to_the_next() -> None:
    proposal = candidate(source="distilled", ipc=4, recipe={"learning_rate": 1e30, "steps": 5})
    first, last = list(rows(climbing(proposal)))
    assert first["fidelity"] == "nwot"
    assert (last["fidelity"], last["status"], last["rung_done"]) == ("distilled-1", "diverged", True)


def test_real_epochs_may_diverge() -> None:
    ladder = LadderPlan(real_epochs=2, recipe=replace(RECIPE, learning_rate=1e30))
    *before, last = rows(climbing(ladder=ladder))
    assert len(before) >= 4
    assert (last["fidelity"], last["status"]) == ("real-epochs-2", "diverged")


def test_a_candidate_on_real_images_has_no_rungs_of_fewer(tmp_path: Path) -> None:
    found = list(rows(climbing(candidate())))
    assert [row["fidelity"] for row in found] == ["nwot", *["real"] * 4, *["real-epochs-2"] * 2]
    assert ticket_in(tmp_path).mask.sparsity == pytest.approx(found[-1]["sparsity"])


def test_a_worker_that_was_up_the_ladder_begins_at_the_bottom(climbed: list[dict[str, Any]]) -> None:
    worker = climbing()
    for _ in range(14):
        worker.train()
    worker.reset({"trial": 7, "candidate": CLIMBER, "resume_from": None})
    assert repr([lasting(row) for row in rows(worker)]) == repr(climbed)
