"""What a screening trial reports, checked against figures worked out by hand or by torch itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dp_core.data.preprocessing import ZCA, Standardisation
from dp_core.models import ModelSpec, build
from dp_core.pruning import Ticket
from dp_core.training import TrainingData
from tests.trainables.driving import (
    CLASSES,
    SHAPE,
    TINY,
    TINY_PARAMETERS,
    TINY_WEIGHTS,
    candidate,
    dataset,
    distilled_set,
    lasting,
    rows,
    screening,
    screening_context,
    standardised,
    tiny_logits,
)
from trainables import Candidate, ScreeningTrainable, SharedDataset
from trainables.screening.rungs.pruning import screening_data

# prune_fraction 1/2 and sparsity 4/5: a round at 7/8 would overshoot, so the last prunes what is missing.
ZEROS = [0, 150, 225, 240]


def ticket_of(trial: ScreeningTrainable, folder: Path) -> Ticket:
    trial.save(str(folder))
    return Ticket.load(folder / "ticket")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Ticket]:
    trial = screening(screening_context(), candidate())
    found = list(rows(trial))
    return found, ticket_of(trial, tmp_path_factory.mktemp("finished"))


def test_rounds_follow_the_schedule_exactly(finished: tuple[list[dict[str, Any]], Ticket]) -> None:
    found, ticket = finished
    assert [row["round"] for row in found] == [1, 2, 3, 4]
    assert [row["parameters_left"] for row in found] == [TINY_PARAMETERS - zeros for zeros in ZEROS]
    for row, zeros in zip(found, ZEROS, strict=True):
        assert row["sparsity"] == pytest.approx(zeros / TINY_WEIGHTS, abs=1e-12)
        assert row["density"] == pytest.approx(1 - zeros / TINY_WEIGHTS, abs=1e-12)
    assert sum(int((~kept).sum()) for kept in ticket.mask.values()) == ZEROS[-1]


def test_only_the_last_round_ends_the_trial(finished: tuple[list[dict[str, Any]], Ticket]) -> None:
    found, _ = finished
    assert [row["status"] for row in found] == ["running", "running", "running", "finished"]
    assert [row["done"] for row in found] == [False, False, False, True]
    assert [row["reason"] for row in found] == [None] * 4
    seconds = [row["seconds"] for row in found]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_flops_are_those_torch_counts_and_fall_with_the_mask(
    finished: tuple[list[dict[str, Any]], Ticket],
) -> None:
    found, ticket = finished
    with FlopCounterMode(display=False) as counter:
        build(ModelSpec.from_dict(TINY), SHAPE, len(CLASSES), seed=0)(torch.zeros(1, *SHAPE))
    assert counter.get_total_flops() == 2 * (64 * 108 + 192)  # the convolution at 8×8 places, the linear layer at one
    assert {row["flops_dense"] for row in found} == {counter.get_total_flops()}
    assert found[0]["flops_remaining"] == counter.get_total_flops()
    kept = {name: int(tensor.sum()) for name, tensor in ticket.mask.items()}
    assert found[-1]["flops_remaining"] == 2 * (64 * kept["blocks.0.weight"] + kept["classifier.weight"])


@pytest.mark.parametrize(
    ("proposal", "rewind_step", "expected"),
    [
        (candidate(), 0, [32, 64, 96, 128]),  # 2 steps of 16 images
        (candidate(), 1, [32, 48, 64, 80]),  # later rounds start after the first step
        (candidate(source="distilled", ipc=2), 0, [12, 24, 36, 48]),  # 2 steps of the full batch of 3 · 2
        (candidate(source="subset", ipc=2, recipe={"batch_size": 4}), 0, [8, 16, 24, 32]),
        (candidate(recipe={"batch_size": 100}), 0, [96, 192, 288, 384]),  # 3 · 16 images are all there are
    ],
)
def test_image_gradients_are_images_times_steps(
    proposal: dict[str, Any], rewind_step: int, expected: list[int]
) -> None:
    trial = screening(screening_context(rewind_step=rewind_step), proposal)
    assert [row["image_gradients"] for row in rows(trial)] == expected


def test_accuracy_loss_and_score_are_those_of_the_weights_in_the_checkpoint(tmp_path: Path) -> None:
    trial = screening(screening_context(), candidate(recipe={"steps": 20, "learning_rate": 0.1}))
    for number in (1, 2):
        row = trial.train()
        trial.save(str(tmp_path / str(number)))
        state = torch.load(tmp_path / str(number) / "state.pt", weights_only=True)
        weights = state["work"]["rung"]["prunings"][0]["model"]
        validation = dataset(4, 2)
        logits = tiny_logits(weights, standardised(validation.images))
        accuracy = float((logits.argmax(1) == validation.labels).double().mean())
        assert row["proxy_accuracy"] == pytest.approx(accuracy, abs=1e-12)
        loss = -logits.log_softmax(1)[torch.arange(len(logits)), validation.labels].mean()
        assert row["proxy_loss"] == pytest.approx(float(loss), rel=1e-4)
        assert row["predicted_classes"] == len(set(logits.argmax(1).tolist()))
        assert row["score"] == pytest.approx(accuracy * (row["parameters_left"] / 300) ** -0.07, rel=1e-9)


def test_a_ticket_has_what_is_needed_to_find_it_again(finished: tuple[list[dict[str, Any]], Ticket]) -> None:
    found, ticket = finished
    assert ticket.spec == ModelSpec.from_dict(TINY)
    assert (ticket.input_shape, ticket.classes) == (SHAPE, len(CLASSES))
    assert ticket.mask.sparsity == pytest.approx(0.8)
    assert [row["round"] for row in ticket.history] == [1, 2, 3, 4]
    assert [lasting(row) for row in ticket.history] == [
        {key: value for key, value in lasting(row).items() if key != "done"} for row in found
    ]
    told = ticket.provenance
    assert (told["trial"], told["source"], told["images_per_class"]) == (0, "real", None)
    assert told["train_digest"] == dataset(16, 1).digest
    assert told["recipe"]["steps"] == 2


def test_a_ticket_starts_at_the_initial_weights(finished: tuple[list[dict[str, Any]], Ticket], tmp_path: Path) -> None:
    _, ticket = finished
    # The same candidate, driven for a single round at sparsity 0, rewinds to the same start.
    trial = screening(screening_context(), candidate(sparsity=0))
    assert [row["status"] for row in rows(trial)] == ["finished"]
    for name, value in ticket_of(trial, tmp_path).weights.items():
        assert torch.equal(value, ticket.weights[name])


def test_the_trials_number_is_all_that_its_randomness_needs() -> None:
    context, proposal = screening_context(), candidate(recipe={"augmentation": "siamese"})
    torch.manual_seed(1)
    one = [lasting(row) for row in rows(screening(context, proposal, trial=3))]
    torch.manual_seed(2)
    assert [lasting(row) for row in rows(screening(context, proposal, trial=3))] == one
    assert [lasting(row) for row in rows(screening(context, proposal, trial=4))] != one


def test_a_trial_keeps_to_its_threads() -> None:
    threads = torch.get_num_threads()
    try:
        screening(screening_context(threads=2), candidate())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_loss_that_is_no_number_ends_the_trial_as_diverged() -> None:
    trial = screening(screening_context(), candidate(recipe={"learning_rate": 1e30, "steps": 5}))
    found = list(rows(trial))
    assert [row["status"] for row in found] == ["diverged"]
    assert "the loss became" in found[0]["reason"]
    assert found[0]["done"] is True


def test_the_round_that_diverges_is_a_round_of_its_own() -> None:
    model = {"name": "tests.trainables.networks:diverging_later", "steps": 3}  # a round has 2
    found = list(rows(screening(screening_context(), candidate(model=model))))
    assert [row["status"] for row in found] == ["running", "diverged"]
    assert [row["round"] for row in found] == [1, 2]


def test_a_network_that_fails_only_when_evaluated_has_diverged_too() -> None:
    model = {"name": "tests.trainables.networks:blind_in_evaluation"}
    found = list(rows(screening(screening_context(), candidate(model=model))))
    assert [row["status"] for row in found] == ["diverged"]
    assert found[0]["reason"].startswith("the loss on held-back images is")


def test_a_layer_without_weights_ends_the_trial_as_collapsed(tmp_path: Path) -> None:
    # Three weights are to be left, and those of largest magnitude are all in the convolution, whose initial range
    # (±1/√27) is wider than the linear layer's (±1/√64).
    trial = screening(screening_context(prune_fraction=0.9), candidate(sparsity=0.99))
    *before, last = rows(trial)
    assert [row["status"] for row in before] == ["running"] * len(before)
    assert last["status"] == "collapsed"
    assert last["reason"] == "layer collapse: no weight left in classifier.weight"
    assert last["sparsity"] == pytest.approx(0.99)
    trial.save(str(tmp_path))
    assert not (tmp_path / "ticket").exists()


def test_the_same_answer_to_every_image_is_forgiven_once() -> None:
    model = {"name": "tests.trainables.networks:constant"}
    found = list(rows(screening(screening_context(), candidate(model=model))))
    assert [row["predicted_classes"] for row in found] == [1, 1]
    assert [row["status"] for row in found] == ["running", "collapsed"]
    assert "same class" in found[1]["reason"]


def test_a_worker_that_takes_up_another_candidate_forgets_the_first(tmp_path: Path) -> None:
    context = screening_context()
    second = candidate(source="distilled", ipc=2, recipe={"optimizer": "adamw", "augmentation": "flip_crop"})
    reused = screening(context, candidate(), trial=0)
    reused.train()
    assert reused.reset({"trial": 1, "candidate": second, "resume_from": None})
    fresh = screening(context, second, trial=1)
    assert [lasting(row) for row in rows(reused)] == [lasting(row) for row in rows(fresh)]
    one, other = ticket_of(reused, tmp_path / "reused"), ticket_of(fresh, tmp_path / "fresh")
    assert all(torch.equal(one.mask[name], other.mask[name]) for name in other.mask)
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in other.weights)
    assert one.provenance == other.provenance


SPACES = [
    Standardisation((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
    ZCA.fit(dataset(10, 9).images.float() / 255),
]


@pytest.mark.parametrize("space", SPACES, ids=["standardisation", "zca"])
@pytest.mark.parametrize("source", ["distilled", "subset"])
def test_a_set_is_scored_on_real_images_in_its_own_space(source: str, space: Any) -> None:
    chosen = distilled_set(2, space)
    other = distilled_set(2, Standardisation((0.9, 0.9, 0.9), (0.1, 0.1, 0.1)))
    context = screening_context(sets={"distilled-2": other, "subset-2": other, f"{source}-2": chosen})
    parsed = Candidate.parse(candidate(source=source, ipc=2), len(CLASSES))
    train, validation, calibration = screening_data(context, parsed, torch.device("cpu"))
    real = dataset(4, 2)
    assert isinstance(train, TrainingData)
    assert torch.equal(train.batch(slice(None))[0], chosen.images)
    seen, labels = validation.batch(slice(None))
    pixels = real.images.float() / 255
    if isinstance(space, ZCA):
        expected = ((pixels.flatten(1) - space.mean) @ space.matrix).view_as(pixels)
    else:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (space.mean, space.std))
        expected = (pixels - mean) / std
    torch.testing.assert_close(seen, expected)
    assert torch.equal(labels, real.labels)
    assert calibration.preprocessing is validation.preprocessing
    assert sorted(calibration.images.flatten(1).sum(1).tolist()) == sorted(
        dataset(16, 1).images.flatten(1).sum(1).tolist()
    )


def test_real_candidates_train_and_score_in_the_runs_space() -> None:
    parsed = Candidate.parse(candidate(), len(CLASSES))
    train, validation, _ = screening_data(screening_context(), parsed, torch.device("cpu"))
    assert isinstance(train, TrainingData)
    torch.testing.assert_close(train.batch(slice(None))[0], standardised(dataset(16, 1).images))
    torch.testing.assert_close(validation.batch(slice(None))[0], standardised(dataset(4, 2).images))


def test_validation_images_change_nothing_but_the_score(tmp_path: Path) -> None:
    one = screening(screening_context(), candidate())
    other = screening(screening_context(validation=SharedDataset.of(dataset(9, 8))), candidate())
    for _ in rows(one):
        pass
    for _ in rows(other):
        pass
    a, b = ticket_of(one, tmp_path / "one"), ticket_of(other, tmp_path / "other")
    assert all(torch.equal(a.mask[name], b.mask[name]) for name in a.mask)
