"""A search whose networks are trained by several methods and rates, from the command line to the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dp_core.files import digest_of_file
from dp_core.models import ModelSpec, build
from dp_core.pruning import Ticket
from search.runs.directory import RunDirectory
from search.runs.record import read_run
from tests.dp_core.training import own_parts
from tests.search.pipeline.test_retraining_again import Told, command
from tests.search.tiny import write_config
from trainables.retraining.trained_model import TrainedModel

pytestmark = pytest.mark.ray

SETTINGS: dict[str, Any] = {
    "space": {"model": {"weights": "start.safetensors"}},
    "search": {"trials": 2, "early_stopping": {"method": "none"}},
    "promote": {"top": 1, "audit": 1},
    "retrain": {
        "epochs": 6,
        "method": ["gradual", "ticket"],
        "tune": {"learning_rate": [0.05, 0.01]},
        "recipe": {
            "precision": "float32",
            "learning_rate": None,
            "loss": "parts_of_mine:focal",
            "optimizer": "torch.optim:NAdam",
        },
    },
}


def start() -> dict[str, Tensor]:
    """Return weights for the networks of the space, all but those of the last layer."""
    state = build(ModelSpec("convnet", {"depth": 1, "width": 4, "norm": "none"}), (3, 8, 8), 3, seed=123).state_dict()
    return {name: value for name, value in state.items() if not name.startswith("classifier")}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunDirectory, Told]]:
    folder = tmp_path_factory.mktemp("methods")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save_file(start(), folder / "start.safetensors")
        shutil.copyfile(own_parts.__file__, folder / "parts_of_mine.py")
        told = command("search", write_config(folder, **SETTINGS), "--json")
        yield RunDirectory(folder / "runs" / "tiny"), told


def test_each_network_has_a_rank_by_each_method(searched: tuple[RunDirectory, Told]) -> None:
    run, told = searched
    assert told.status == 0, told.err
    rows = json.loads(told.out)
    assert len(rows) == 2 * 2 * 2  # trials, methods, rates
    ranked = [row for row in rows if row["rank"] is not None]
    assert sorted((row["trial"], row["method"]) for row in ranked) == [
        (trial, method) for trial in (0, 1) for method in ("gradual", "ticket")
    ]
    for row in rows:
        (folder,) = row["models"]
        model = TrainedModel.load(Path(folder))
        ticket = Ticket.load(run.ticket(row["trial"]))
        zeros = sum(int((model.weights[name] == 0).sum()) for name in ticket.mask)
        assert zeros == ticket.mask.total - ticket.mask.kept == row["parameters"] - row["parameters_left"]
        # Six epochs of 48 images in batches of 16 are 18 steps; a ticket has had some of them in its screening.
        spent = ticket.history[-1]["image_gradients"] if row["method"] == "ticket" else 0
        assert row["retraining_image_gradients"] == 16 * (18 - round(spent / 16))
        best = max(other["validation_accuracy"] for other in rows if _same(other, row))
        assert (row["rank"] is None) or row["validation_accuracy"] == best


def test_a_loss_and_an_optimizer_of_ones_own_are_recorded(searched: tuple[RunDirectory, Told]) -> None:
    run, _ = searched
    recipe = TrainedModel.load(run.models()[0]).results["recipe"]
    assert (recipe["loss"], recipe["optimizer"]) == ("parts_of_mine:focal", "torch.optim:NAdam")
    assert "parts_of_mine" in read_run(run)["sources"]


def test_networks_start_from_the_weights_that_the_space_names(searched: tuple[RunDirectory, Told]) -> None:
    run, _ = searched
    for number in (0, 1):
        weights = Ticket.load(run.ticket(number)).weights
        assert all(torch.equal(weights[name], value) for name, value in start().items())
    assert read_run(run)["sources"]["start.safetensors"] == digest_of_file(run.path.parents[1] / "start.safetensors")


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return (one["trial"], one["method"]) == (other["trial"], other["method"])


def test_the_report_and_the_curves_tell_methods_apart(searched: tuple[RunDirectory, Told]) -> None:
    run, _ = searched
    page = (run.path / "report.html").read_text()
    assert '<th scope="col">Method</th>' in page
    assert "<td>gradual</td>" in page
    curves = [folder.name for folder in (run.tensorboard / "retraining").iterdir()]
    assert len(curves) == 8
    assert sum("-gradual-" in name for name in curves) == 4


def test_another_method_can_be_asked_for_later(searched: tuple[RunDirectory, Told]) -> None:
    run, _ = searched
    told = command("retrain", run.path, "--trial", "0", "retrain.method=rigl", "retrain.tune={}", "--json")
    assert told.status == 0, told.err
    rows = json.loads(told.out)
    assert sorted({row["method"] for row in rows}) == ["gradual", "rigl", "ticket"]


def test_a_mistake_is_told_before_anything_starts(
    searched: tuple[RunDirectory, Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(searched[0].path.parents[1])
    path = write_config(tmp_path, space={"model": {"weights": "nowhere.safetensors"}})
    assert "is to start from 'nowhere.safetensors', which is no file." in command("search", path, "--json").refusal
    path = write_config(tmp_path, retrain={"method": {"name": "gradual", "end": 1.5}})
    told = command("search", path, "--json")
    assert "'retrain.method'" in told.refusal
    assert "a schedule cannot end after the training" in told.refusal
    path = write_config(tmp_path, retrain={"recipe": {"optimizer": "parts_of_mine:Forgetful"}})
    told = command("search", path, "--json")
    assert "differently when it goes on from a saved state" in told.refusal
    assert not (tmp_path / "runs").exists()
