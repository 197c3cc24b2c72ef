from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dp_core.data import ImageDataset
from dp_core.models import ModelSpec
from dp_core.pruning import Ticket
from dp_core.training import Recipe
from tests.trainables.driving import (
    CLASSES,
    RETRAINING,
    SHAPE,
    TINY,
    candidate,
    dataset,
    lasting,
    retraining,
    retraining_context,
    rows,
    screening,
    screening_context,
    tiny_logits,
)
from trainables import RetrainingTrainable, SharedDataset
from trainables.retraining.trained_model import TrainedModel


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Ticket]:
    folder = tmp_path_factory.mktemp("tickets")
    found = {}
    for number in (0, 3):
        trial = screening(screening_context(), candidate(), trial=number)
        for _ in rows(trial):
            pass
        trial.save(str(folder / str(number)))
        found[number] = Ticket.load(folder / str(number) / "ticket")
    return found


def trained(trial: RetrainingTrainable, folder: Path) -> tuple[list[dict[str, Any]], TrainedModel]:
    found = [lasting(row) for row in rows(trial)]
    trial.save(str(folder))
    return found, TrainedModel.load(folder / "model")


def same_weights(one: TrainedModel, other: TrainedModel) -> bool:
    assert one.weights.keys() == other.weights.keys()
    return all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


class Counted(SharedDataset):
    """Remembers how often it was opened."""

    def open(self) -> ImageDataset:
        opened = self.__dict__.setdefault("opened", [])
        opened.append(True)
        return super().open()


def test_each_epoch_is_a_row_and_only_the_last_has_seen_the_test_images(tickets: dict[int, Ticket]) -> None:
    shared = SharedDataset.of(dataset(5, 3))
    test = Counted(shared.images, shared.labels, shared.class_names, shared.digest)
    trial = retraining(retraining_context(tickets, test=test))
    used = []
    found = []
    for row in rows(trial):
        found.append(row)
        used.append(len(test.__dict__.get("opened", [])))
    assert [row["epoch"] for row in found] == [1, 2, 3]
    assert [row["status"] for row in found] == ["running", "running", "finished"]
    assert ["test_accuracy" in row for row in found] == [False, False, True]
    assert used == [0, 0, 1]
    trial.train()
    assert len(test.__dict__["opened"]) == 1


def test_epochs_end_at_whole_steps_and_the_schedule_spans_them_all(tickets: dict[int, Ticket]) -> None:
    # 3 epochs of 48 images in batches of 20 are 7.2, so 7 steps, cut at 7/3 and 14/3: after steps 2, 5 and 7. A row
    # tells the rate of its last step, half a cosine: 0.05 · (1 + cos(π · step / 7)) / 2 at steps 1, 4 and 6.
    found = list(rows(retraining(retraining_context(tickets))))
    assert [row["learning_rate"] for row in found] == pytest.approx([0.0475242, 0.0194370, 0.0024758], abs=1e-6)


def test_the_exported_model_has_the_tickets_zeros_and_starts_from_it(
    tickets: dict[int, Ticket], tmp_path: Path
) -> None:
    _, model = trained(retraining(retraining_context(tickets)), tmp_path)
    for name, kept in tickets[0].mask.items():
        assert torch.count_nonzero(model.weights[name][~kept]) == 0
        assert torch.count_nonzero(model.weights[name][kept]) == kept.sum()
    assert sum(int((model.weights[name] == 0).sum()) for name in tickets[0].mask) == 240
    lazy = retraining_context(tickets, recipe=Recipe(epochs=3.0, learning_rate=1e-12, weight_decay=0.0))
    _, untouched = trained(retraining(lazy), tmp_path / "lazy")
    for name, value in tickets[0].build().state_dict().items():
        torch.testing.assert_close(untouched.weights[name], value, atol=1e-9, rtol=0)


def test_the_exported_folder_alone_gives_the_reported_test_accuracy(tickets: dict[int, Ticket], tmp_path: Path) -> None:
    context = retraining_context(
        tickets, epochs=10, recipe=Recipe(epochs=10.0, batch_size=16, learning_rate=0.1, precision="float32")
    )
    found, _ = trained(retraining(context), tmp_path)
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    weights = load_file(tmp_path / "model" / "model.safetensors")
    mean, std = (torch.tensor(card["preprocessing"][key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    test = dataset(5, 3)
    predicted = tiny_logits(weights, (test.images.float() / 255 - mean) / std).argmax(1)
    accuracy = float((predicted == test.labels).double().mean())
    assert accuracy > 0.6  # a third would be chance
    assert found[-1]["test_accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert card["results"]["test_accuracy"] == found[-1]["test_accuracy"]
    built = TrainedModel.load(tmp_path / "model").build()
    assert not built.training
    assert torch.equal(built((test.images.float() / 255 - mean) / std).argmax(1), predicted)


def test_the_card_says_what_it_is(tickets: dict[int, Ticket], tmp_path: Path) -> None:
    found, model = trained(retraining(retraining_context(tickets), trial=3, seed=2), tmp_path)
    assert model.spec == ModelSpec.from_dict(TINY)
    assert (model.input_shape, model.class_names) == (SHAPE, CLASSES)
    results = model.results
    assert (results["trial"], results["seed"]) == (3, 2)
    assert results["sparsity"] == pytest.approx(0.8)
    assert results["validation_accuracy"] == found[-1]["validation_accuracy"]
    assert results["seconds"] > 0
    assert [row["epoch"] for row in results["history"]] == [1, 2, 3]


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("way", ["restore", "resume_from"])
def test_an_interrupted_retraining_goes_on_bit_for_bit(
    tickets: dict[int, Ticket], tmp_path: Path, epochs: int, way: str
) -> None:
    recipe = Recipe(optimizer="adamw", epochs=3.0, batch_size=20, augmentation="flip_crop", precision="float32")
    context = retraining_context(tickets, recipe=recipe)
    whole, model = trained(retraining(context), tmp_path / "whole")
    interrupted = retraining(context)
    first = [lasting(interrupted.train()) for _ in range(epochs)]
    interrupted.save(str(tmp_path / "part"))
    assert not (tmp_path / "part" / "model").exists()
    if way == "restore":
        resumed = retraining(context)
        resumed.restore(str(tmp_path / "part"))
    else:
        resumed = retraining(context, resume_from=str(tmp_path / "part"))
    rest, again = trained(resumed, tmp_path / "resumed")
    assert first + rest == whole
    assert same_weights(again, model)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stream ten blocks of up to 5 images in windows of 15."""
    image = torch.Size(SHAPE).numel()
    monkeypatch.setattr("trainables.trials.placement._BLOCK_BYTES", 5 * image)
    monkeypatch.setattr("trainables.trials.placement._WINDOW_BYTES", 12 * image)


@pytest.mark.usefixtures("small_windows")
def test_a_streamed_retraining_goes_on_bit_for_bit(tickets: dict[int, Ticket], tmp_path: Path) -> None:
    context = retraining_context(tickets, stream="always")
    whole, model = trained(retraining(context), tmp_path / "whole")
    interrupted = retraining(context)
    first = lasting(interrupted.train())
    interrupted.save(str(tmp_path / "part"))
    rest, again = trained(retraining(context, resume_from=str(tmp_path / "part")), tmp_path / "resumed")
    assert [first, *rest] == whole
    assert same_weights(again, model)


@pytest.mark.usefixtures("small_windows")
def test_a_streamed_retraining_learns_as_much_in_another_order(tickets: dict[int, Ticket], tmp_path: Path) -> None:
    recipe = Recipe(epochs=10.0, batch_size=16, learning_rate=0.1, precision="float32")
    found = {}
    for stream in ("always", "never", "auto"):
        context = retraining_context(tickets, epochs=10, recipe=recipe, stream=stream)
        found[stream] = trained(retraining(context), tmp_path / stream)[1]
    accuracies = {stream: model.results["test_accuracy"] for stream, model in found.items()}
    assert accuracies["always"] == pytest.approx(accuracies["never"], abs=0.2)  # 3 of 15 test images
    assert accuracies["always"] > 0.6  # a third would be chance
    assert not same_weights(found["always"], found["never"])
    assert same_weights(found["auto"], found["never"])  # on a CPU


def test_a_retraining_whose_end_nobody_heard_says_it_again(tickets: dict[int, Ticket], tmp_path: Path) -> None:
    context = retraining_context(tickets)
    whole, model = trained(retraining(context), tmp_path / "whole")
    resumed = retraining(context, resume_from=str(tmp_path / "whole"))
    row = resumed.train()
    assert lasting(row) == whole[-1]
    resumed.save(str(tmp_path / "again"))
    assert same_weights(TrainedModel.load(tmp_path / "again" / "model"), model)


def test_seeds_differ_and_a_reused_worker_is_like_a_new_one(tickets: dict[int, Ticket], tmp_path: Path) -> None:
    context = retraining_context(tickets)
    worker = retraining(context, trial=0, seed=0)
    _, first = trained(worker, tmp_path / "first")
    worker.reset({"job": {"trial": 3, "method": "own", "seed": 1, "resume_from": None}})
    reused_rows, reused = trained(worker, tmp_path / "reused")
    fresh_rows, fresh = trained(retraining(context, trial=3, seed=1), tmp_path / "fresh")
    assert reused_rows == fresh_rows
    assert same_weights(reused, fresh)
    assert reused.results["trial"] == 3
    _, other = trained(retraining(context, trial=0, seed=1), tmp_path / "other")
    assert not same_weights(other, first)


def test_a_retraining_that_diverges_is_never_tested(tickets: dict[int, Ticket], tmp_path: Path) -> None:
    shared = SharedDataset.of(dataset(5, 3))
    test = Counted(shared.images, shared.labels, shared.class_names, shared.digest)
    recipe = replace(RETRAINING, learning_rate=1e30)
    trial = retraining(retraining_context(tickets, recipe=recipe, test=test))
    *before, last = rows(trial)
    assert all(row["status"] == "running" for row in before)
    assert last["status"] == "diverged"
    assert "the loss became" in last["reason"]
    assert "test_accuracy" not in last
    assert "opened" not in test.__dict__
    trial.save(str(tmp_path))
    assert not (tmp_path / "model").exists()
