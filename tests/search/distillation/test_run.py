"""A distillation through the command line, inside the test's own process: finished, stopped, and taken up again."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dp_core import files
from dp_core.distillation import DistilledSet
from search.distillation.preparation import prepare_distillation
from search.distillation.watching import Watch
from tests.search.conftest import Outcome
from tests.search.distillation.tiny_distillation import (
    NETWORK,
    TRAIN_IMAGES,
    contents,
    distill_config,
    write_distillation,
    write_gray_images,
)
from tests.search.json_shape import rows_of, rows_of_run

Winnow = Callable[..., Outcome]
JUDGED = {"settings": {"validate_every": 3, "validate_steps": 2}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finished(winnow: Winnow, *arguments: str) -> list[dict[str, Any]]:
    """Return the rows of a command that ended well."""
    outcome = winnow(*arguments, "--json")
    assert outcome.status == 0, outcome.err
    rows = rows_of(outcome.out)
    return rows_of_run(outcome.out, rows[0]["run"])


def stop_at(monkeypatch: pytest.MonkeyPatch, images_per_class: int, iteration: int) -> None:
    """Make the distillation end as by Ctrl-C when it has done so many iterations of a set."""
    step = Watch.step

    def stepping(self: Watch, done: int, total: int, loss: float) -> None:
        step(self, done, total, loss)
        if (self._name, done) == (f"{images_per_class}ipc", iteration):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Watch, "step", stepping)


def status(winnow: Winnow, run: str = "tiny") -> dict[str, Any]:
    (found,) = rows_of(winnow("status", run, "--json").out)
    return found


def test_the_sets_are_those_that_the_distiller_makes(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder, distill={"ipc": [1, 3]})
    rows = finished(winnow, "distill", "tiny.yaml")
    assert [row["images_per_class"] for row in rows] == [1, 3]
    prepared = prepare_distillation(distill_config(folder, distill={"ipc": [1, 3]}), folder, "tiny.yaml")
    assert len(prepared.splits.train) == 3 * TRAIN_IMAGES
    for row in rows:
        made = DistilledSet.load(row["set"])
        alone = prepared.distiller.distill(prepared.splits.train, row["images_per_class"], 0)
        assert made.digest == alone.digest == row["digest"]
        assert made.provenance["source_digest"] == prepared.splits.train.digest
        assert row["set"] == str(folder / "runs" / "tiny" / f"tiny-{row['images_per_class']}ipc.safetensors")
    recorded = yaml.safe_load((folder / "runs" / "tiny" / "run.yaml").read_text())
    assert recorded["kind"] == "distillation"
    assert recorded["distilled_sets"] == {f"{row['images_per_class']}ipc": row["digest"] for row in rows}
    assert not (folder / "runs" / "tiny" / "checkpoints").exists()


def test_sets_go_where_output_says(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder, distill={"output": "assets"})
    (row,) = finished(winnow, "distill", "tiny.yaml")
    assert {path.name for path in (folder / "assets").iterdir()} == {"tiny-2ipc.safetensors", "tiny-2ipc.card.json"}
    again = winnow("distill", "tiny.yaml", f"run.directory={folder / 'others'}")
    assert again.status == 2
    assert f"{row['set']} exists: choose another run.name or distill.output" in again.err
    assert not (folder / "others").exists()


def test_it_can_be_watched(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder, distill=JUDGED)
    (row,) = finished(winnow, "distill", "tiny.yaml")
    run = folder / "runs" / "tiny"
    names = ["2ipc-00002", "2ipc-00004", "2ipc-00006", "2ipc"]
    assert {path.stem for path in (run / "images").iterdir()} == set(names)
    board = EventAccumulator(str(run / "tensorboard" / "2ipc"), size_guidance={"scalars": 0, "images": 0})
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    shown = board.Images("images")
    assert [event.step for event in shown] == [2, 4, 6]
    assert shown[-1].encoded_image_string == (run / "images" / "2ipc-00006.png").read_bytes()
    # Looked at after iterations 3 and 6: nothing is known at 2, and what the card says is the best of both.
    best = board.Scalars("best_validation_accuracy")
    assert [event.step for event in best] == [4, 6]
    assert best[-1].value == pytest.approx(row["validation_accuracy"])
    assert best[0].value <= best[1].value


def test_a_finished_run_that_is_resumed_says_so_and_changes_nothing(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder)
    rows = finished(winnow, "distill", "tiny.yaml")
    lock = "runs/tiny/driver.lock"  # says which driver was the last
    before = contents(folder) | {lock: b""}
    again = winnow("resume", "tiny", "--json")
    assert again.status == 0
    assert rows_of(again.out) == rows
    assert "is finished: there is nothing left to do" in again.err
    assert contents(folder) | {lock: b""} == before
    assert rows_of(winnow("report", "tiny", "--json").out) == rows
    assert contents(folder) | {lock: b""} == before


@pytest.mark.parametrize("ending", [".safetensors", ".card.json"])
def test_a_set_of_which_a_file_is_lost_is_made_again(folder: Path, winnow: Winnow, ending: str) -> None:
    write_distillation(folder)
    (row,) = finished(winnow, "distill", "tiny.yaml")
    Path(row["set"].replace(".safetensors", ending)).unlink()
    status = rows_of(winnow("status", "tiny", "--json").out)[0]
    assert (status["state"], status["sets_done"]) == ("stopped", "0 of 1")
    (again,) = finished(winnow, "resume", "tiny")
    assert again["digest"] == row["digest"]
    assert DistilledSet.load(row["set"]).digest == row["digest"]


def test_a_stopped_run_says_how_to_go_on_and_ends_with_the_same_sets(
    folder: Path, winnow: Winnow, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"ipc": [1, 2], **JUDGED}
    write_distillation(folder, run={"name": "straight"}, distill=changes)
    straight = finished(winnow, "distill", "tiny.yaml")
    write_distillation(folder, distill=changes)
    with monkeypatch.context() as patched:
        stop_at(patched, images_per_class=2, iteration=5)
        stopped = winnow("distill", "tiny.yaml")
    assert stopped.status == 130
    assert stopped.out == ""
    assert stopped.err.endswith(f"go on with: winnow resume {folder / 'runs' / 'tiny'}\n")
    found = status(winnow)
    assert found["estimated_seconds"]["unknown"] == []
    assert found == {
        "kind": "distillation",
        "run": str(folder / "runs" / "tiny"),
        "models": [],
        "judged": None,
        "estimated_seconds": found["estimated_seconds"],
        "state": "stopped",
        "sets_done": "1 of 2",
        "images_per_class": 2,
        "iteration": 4,
        "iterations": 6,
        "best_validation_accuracy": pytest.approx(0.5, abs=0.5),
    }
    resumed = finished(winnow, "resume", "tiny")
    assert [row["digest"] for row in resumed] == [row["digest"] for row in straight]
    assert [row["validation_accuracy"] for row in resumed] == [row["validation_accuracy"] for row in straight]
    for one, other in zip(straight, resumed, strict=True):
        assert Path(one["set"]).read_bytes() == Path(other["set"]).read_bytes()
    assert status(winnow)["state"] == "finished"
    # The curve has each of its steps once.
    board = EventAccumulator(str(folder / "runs" / "tiny" / "tensorboard" / "2ipc"), size_guidance={"scalars": 0})
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6]


def test_a_set_that_was_made_but_not_recorded_is_not_made_again(
    folder: Path, winnow: Winnow, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distillation(folder)
    rows = finished(winnow, "distill", "tiny.yaml")
    path = folder / "runs" / "tiny" / "run.yaml"
    recorded = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**recorded, "distilled_sets": {}}))
    assert status(winnow)["state"] == "stopped"
    monkeypatch.setattr(DistilledSet, "save", lambda *args: pytest.fail("made a second time"))
    assert finished(winnow, "resume", "tiny") == rows
    assert yaml.safe_load(path.read_text()) == recorded


@pytest.mark.parametrize("change", [{"run": {"seed": 7}}, {"distill": {"settings": {"iterations": 9}}}])
def test_a_config_that_was_edited_is_refused(folder: Path, winnow: Winnow, change: dict[str, Any]) -> None:
    write_distillation(folder)
    finished(winnow, "distill", "tiny.yaml")
    path = folder / "runs" / "tiny" / "run.yaml"
    recorded = yaml.safe_load(path.read_text())
    for section, values in change.items():
        recorded["config"][section] |= values
    path.write_text(yaml.safe_dump(recorded))
    outcome = winnow("resume", "tiny")
    assert outcome.status == 2
    assert "was changed where it would be another run" in outcome.err


STEEP = {"settings": {"image_rate": 1e30}}


def test_one_that_diverged_goes_on_with_smaller_steps(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder, distill=STEEP)
    halted = winnow("distill", "tiny.yaml")
    run = folder / "runs" / "tiny"
    assert halted.status == 2
    assert "diverged again at iteration 1, though all its steps had been halved 3 times: the images" in halted.err
    assert halted.err.endswith(f"winnow resume {run} distill.settings.NAME=VALUE --accept-changes\n")
    asked = winnow("resume", "tiny", "distill.settings.image_rate=1")
    assert asked.status == 2
    assert "distill.settings.image_rate: 1e+30 → 1" in asked.err
    assert "--accept-changes" in asked.err
    (row,) = finished(winnow, "resume", "tiny", "distill.settings.image_rate=1", "--accept-changes")
    write_distillation(folder, run={"name": "straight"})
    (straight,) = finished(winnow, "distill", "tiny.yaml")
    made, other = DistilledSet.load(row["set"]), DistilledSet.load(straight["set"])
    assert np.array_equal(made.images, other.images)
    assert (made.provenance["distiller"]["image_rate"], made.provenance["earlier_step_sizes"]) == (1, [])
    assert finished(winnow, "resume", "tiny") == [row]
    assert winnow("resume", "tiny", "distill.settings.image_rate=2", "--accept-changes").status == 2


def test_steps_may_be_changed_on_the_way_and_the_card_says_so(
    folder: Path, winnow: Winnow, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distillation(folder, distill={"ipc": [1, 2]})
    with monkeypatch.context() as patched:
        stop_at(patched, images_per_class=2, iteration=5)
        assert winnow("distill", "tiny.yaml").status == 130
    for key in ("distill.settings.iterations=9", "distill.ipc=3", "run.seed=1"):
        refused = winnow("resume", "tiny", key, "--accept-changes")
        assert refused.status == 2
        assert "would be another run" in refused.err
        assert "a set on its way can change distill.settings.image_rate" in refused.err
    rows = finished(winnow, "resume", "tiny", "distill.settings.image_rate=0.5", "--accept-changes")
    first, second = (DistilledSet.load(row["set"]).provenance for row in rows)
    assert (first["distiller"]["image_rate"], first["earlier_step_sizes"]) == (1.0, [])
    assert second["distiller"]["image_rate"] == 0.5
    assert second["earlier_step_sizes"] == [{"until_iteration": 4, "image_rate": 1.0}]
    assert status(winnow)["state"] == "finished"
    assert finished(winnow, "resume", "tiny") == rows


def test_before_there_is_a_checkpoint_other_settings_may_be_changed(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder, distill=STEEP)
    assert winnow("distill", "tiny.yaml").status == 2
    changes = ("distill.settings.iterations=2", "distill.settings.image_rate=1")
    (row,) = finished(winnow, "resume", "tiny", *changes, "--accept-changes")
    assert DistilledSet.load(row["set"]).provenance["distiller"]["iterations"] == 2


def test_a_set_that_is_not_the_runs_is_refused(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder, run={"name": "other", "seed": 1})
    (other,) = finished(winnow, "distill", "tiny.yaml")
    write_distillation(folder)
    (row,) = finished(winnow, "distill", "tiny.yaml")
    for ending in (".safetensors", ".card.json"):
        Path(row["set"].replace(".safetensors", ending)).write_bytes(
            Path(other["set"].replace(".safetensors", ending)).read_bytes()
        )
    path = folder / "runs" / "tiny" / "run.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "distilled_sets": {}}))
    outcome = winnow("resume", "tiny")
    assert outcome.status == 2
    assert "is not what the run" in outcome.err


@pytest.mark.parametrize("part", ["checkpoints", "images/.2ipc", "tiny-2ipc"])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    folder: Path, winnow: Winnow, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    write_distillation(folder)
    flush = files._flush

    def full(path: Path) -> None:
        if part in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(path)

    with monkeypatch.context() as patched:
        patched.setattr(files, "_flush", full)
        outcome = winnow("distill", "tiny.yaml")
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].startswith("winnow: There is no room left on the disk for ")
    assert not list((folder / "runs").rglob("*.tmp"))
    assert not list((folder / "runs").rglob("tiny-2ipc*"))
    finished(winnow, "resume", "tiny")


@pytest.mark.parametrize(
    "distill",
    [
        {"settings": {"space": "zca"}},
        {"method": "feature_regression", "settings": {"iterations": 3, "real_images": 8, "networks": 2}},
        {"method": "random_images", "settings": None, "architectures": None},
        {
            "method": "herding",
            "settings": {"iterations": None, "real_images": None, "steps": 0, "model": NETWORK},
            "architectures": None,
        },
    ],
    ids=["zca", "feature_regression", "random_images", "herding"],
)
def test_gray_images_go_all_the_way(folder: Path, winnow: Winnow, distill: dict[str, Any]) -> None:
    write_gray_images(folder / "images")
    write_distillation(folder, distill=distill)
    (row,) = finished(winnow, "distill", "tiny.yaml")
    made = DistilledSet.load(row["set"])
    assert made.image_shape == (1, 8, 8)
    picture = Image.open(folder / "runs" / "tiny" / "images" / "2ipc.png")
    assert picture.mode == "L"
    # Rows are classes, and those of a later class are brighter.
    brightness = np.asarray(picture)[2:-2].reshape(-1, picture.width)[:, 2:-2].astype(float)
    thirds = [part.mean() for part in np.array_split(brightness, 3)]
    assert thirds == sorted(thirds)


def test_the_card_has_the_command_without_folders_of_this_machine(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder)
    (row,) = finished(winnow, "distill", "tiny.yaml", f"run.directory={folder / 'there'}", "run.seed=3")
    command = DistilledSet.load(row["set"]).provenance["command"]
    assert command == "winnow distill tiny.yaml run.directory=PATH run.seed=3 --json"


def test_it_is_said_which_file_became_which_split(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder)
    test = folder / "images" / "test-00000-of-00001.parquet"
    test.rename(test.with_name("valid-00000-of-00001.parquet"))
    outcome = winnow("distill", "tiny.yaml")
    split = "15 from valid-00000-of-00001.parquet, the validation split of the data, as there is no test split"
    assert f"test: {split}\n" in outcome.err
    recorded = yaml.safe_load((folder / "runs" / "tiny" / "run.yaml").read_text())
    assert recorded["images"]["test"] == split


def test_a_set_is_made_by_as_many_threads_as_it_may_take(
    folder: Path, winnow: Winnow, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distillation(folder)
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    finished(winnow, "distill", "tiny.yaml", "resources.cpus_per_job=2")
    assert threads == [2]
    write_distillation(folder, run={"name": "all"})
    finished(winnow, "distill", "tiny.yaml")
    assert threads == [2]


# --- a budget of minutes ---


def test_a_set_is_made_within_its_minutes(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder, distill={"minutes": 0.03, "settings": {"iterations": None}})
    (row,) = finished(winnow, "distill", "tiny.yaml")
    made = DistilledSet.load(row["set"]).provenance
    assert made["distiller"]["minutes"] == 0.03
    assert made["kept_iteration"] > 6
    assert 1.8 <= row["seconds"] < 10
    assert status(winnow)["state"] == "finished"


def test_minutes_that_do_not_suffice_for_an_iteration_are_a_sentence_and_no_set(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder, distill={"minutes": 1e-7, "settings": {"iterations": None}})
    outcome = winnow("distill", "tiny.yaml")
    assert outcome.status == 2
    assert "A budget of 1e-07 minutes is less than one iteration takes" in outcome.err
    assert not [*(folder / "runs").rglob("*.safetensors")]
