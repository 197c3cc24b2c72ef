"""In place of a damaged checkpoint a trial goes on from a sound one, and comes to the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ray.train._internal.storage import StorageContext

from dp_core.pruning import Ticket
from tests.trainables.driving import (
    lasting,
    retraining,
    retraining_context,
    rows,
    screening,
    screening_context,
    ticket_in,
)
from tests.trainables.screening.test_resuming import DEMANDING, assert_same_ticket
from trainables import RetrainingTrainable, ScreeningTrainable


def truncate(folder: Path) -> None:
    state = folder / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])


def flip(folder: Path) -> None:
    content = bytearray((folder / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "state.pt").write_bytes(content)


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": truncate,
    "a bit flipped": flip,
    "digest missing": lambda folder: (folder / "state.sha256").unlink(),
    "empty": empty,
    "gone": shutil.rmtree,
}


def demanding(**config: Any) -> ScreeningTrainable:
    return screening(screening_context(rewind_step=1), DEMANDING, trial=7, **config)


@pytest.fixture(scope="module")
def whole() -> list[dict[str, Any]]:
    return [lasting(row) for row in rows(demanding())]


@pytest.fixture
def saved(tmp_path: Path) -> list[Path]:
    """Return checkpoints after one, two and three of the four rounds."""
    trial, folders = demanding(), []
    for number in range(3):
        trial.train()
        folders.append(tmp_path / "session-000" / "00007" / f"checkpoint_{number:06d}")
        trial.save(str(folders[-1]))
    return folders


def noted(found: list[Mapping[str, Any]]) -> tuple[str | None, list[dict[str, Any]]]:
    """Return the note of the first row and all rows without it."""
    assert all("note" not in row for row in found[1:])
    rest = [{key: value for key, value in lasting(row).items() if key != "note"} for row in found]
    return found[0].get("note"), rest


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("way", ["restore", "resume_from"])
def test_in_place_of_a_damaged_checkpoint_the_one_before_is_used(
    saved: list[Path], whole: list[dict[str, Any]], way: str, damage: Callable[[Path], object]
) -> None:
    damage(saved[2])
    trial = demanding(resume_from=str(saved[2])) if way == "resume_from" else demanding()
    if way == "restore":
        saved[2].mkdir(exist_ok=True)  # Tune does not restore from nothing
        trial.restore(str(saved[2]))
    note, found = noted(list(rows(trial)))
    assert note == "The last checkpoint is damaged, so the trial went on from checkpoint_000001 before it."
    assert found == whole[2:]


@pytest.mark.parametrize("way", ["restore", "resume_from"])
def test_without_a_sound_checkpoint_a_trial_begins_anew(
    saved: list[Path], whole: list[dict[str, Any]], way: str
) -> None:
    for folder in saved:
        truncate(folder)
    trial = demanding(resume_from=str(saved[2])) if way == "resume_from" else demanding()
    if way == "restore":
        trial.train()
        trial.restore(str(saved[2]))
    note, found = noted(list(rows(trial)))
    assert note == "The last checkpoint is damaged, and there is no sound one before it to go on from."
    assert found == whole


def test_a_checkpoint_of_tunes_that_is_gone_is_a_damaged_one(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    trial = demanding()
    trial.restore(str(tmp_path / "gone"))
    note, found = noted(list(rows(trial)))
    assert note is not None
    assert found == whole


def test_an_earlier_drivers_checkpoint_is_the_last_resort(
    saved: list[Path], whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    later = tmp_path / "session-001" / "00007" / "checkpoint_000000"
    shutil.copytree(saved[2], later)
    truncate(later)
    trial = demanding(resume_from=str(saved[1]))
    trial.restore(str(later))
    _, found = noted(list(rows(trial)))
    assert found == whole[2:]


def test_a_damaged_checkpoint_of_a_retraining_costs_an_epoch(tmp_path: Path) -> None:
    context = retraining_context({0: ticket_in(tmp_path / "ticket")})
    whole = [lasting(row) for row in rows(retraining(context))]
    trial: RetrainingTrainable = retraining(context)
    for number in range(2):
        trial.train()
        trial.save(str(tmp_path / f"checkpoint_{number:06d}"))
    flip(tmp_path / "checkpoint_000001")
    resumed = retraining(context)
    resumed.restore(str(tmp_path / "checkpoint_000001"))
    note, found = noted(list(rows(resumed)))
    assert note is not None
    assert found == whole[1:]


def test_a_ticket_after_a_damaged_checkpoint_is_the_same(saved: list[Path], tmp_path: Path) -> None:
    trial = demanding()
    for _ in rows(trial):
        pass
    trial.save(str(tmp_path / "whole"))
    truncate(saved[2])
    resumed = demanding(resume_from=str(saved[2]))
    for _ in rows(resumed):
        pass
    resumed.save(str(tmp_path / "resumed"))
    assert_same_ticket(Ticket.load(tmp_path / "resumed" / "ticket"), Ticket.load(tmp_path / "whole" / "ticket"))


@pytest.mark.parametrize("address", ["folder", "mock:///bucket"])
@pytest.mark.parametrize("damage", ["none", "cut short", "digest missing", "gone"])
def test_tunes_own_storage_is_looked_through(
    address: str, damage: str, whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = str(tmp_path / "storage") if address == "folder" else address
    storage = StorageContext(path, "session-000", trial_dir_name="00007")
    trial = demanding(storage=storage)
    for _ in range(3):
        trial.train()
        third = trial.save()
    assert third.checkpoint is not None
    files, folder = storage.storage_filesystem, third.checkpoint.path
    assert folder.endswith("session-000/00007/checkpoint_000002")
    if damage == "cut short":
        with files.open_output_stream(f"{folder}/state.pt") as file:
            file.write(b"half of it")
    elif damage == "digest missing":
        files.delete_file(f"{folder}/state.sha256")
    elif damage == "gone":
        files.delete_dir(folder)
    resumed = demanding(storage=storage)
    resumed.restore(third)
    note, found = noted(list(rows(resumed)))
    if damage == "none":
        assert (note, found) == (None, whole[3:])
    else:
        assert note == "The last checkpoint is damaged, so the trial went on from checkpoint_000001 before it."
        assert found == whole[2:]
