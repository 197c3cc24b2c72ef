from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from search.tune.checkpoints import CheckpointStore
from trainables.trials.resuming import load_state_from, save_state

TRIAL = "00003"


def add(root: Path, session: int, checkpoint: int, trial: str = TRIAL) -> Path:
    folder = root / f"session-{session:03d}" / trial / f"checkpoint_{checkpoint:06d}"
    folder.mkdir(parents=True)
    save_state(folder, {"session": session, "checkpoint": checkpoint})
    return folder


def newest(root: Path, trial: str = TRIAL) -> str | None:
    return CheckpointStore(str(root)).newest(trial)


def test_a_run_that_never_started_has_none(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path / "screening"))
    assert store.newest(TRIAL) is None
    assert store.next_session() == "session-000"
    assert list(tmp_path.iterdir()) == []


def test_the_newest_checkpoint_wins(tmp_path: Path) -> None:
    for number in (9, 10, 0):  # 10 comes after 9 in numbers and in names
        add(tmp_path, 0, number)
    assert newest(tmp_path) == str(tmp_path / "session-000" / TRIAL / "checkpoint_000010")


def test_a_later_session_wins_whatever_its_numbers(tmp_path: Path) -> None:
    add(tmp_path, 0, 7)
    later = add(tmp_path, 1, 0)
    assert newest(tmp_path) == str(later)


def test_a_session_that_never_saw_the_trial_is_passed_over(tmp_path: Path) -> None:
    wanted = add(tmp_path, 0, 2)
    add(tmp_path, 1, 5, trial="00004")
    assert newest(tmp_path) == str(wanted)
    assert newest(tmp_path, "00005") is None


def test_trials_with_several_seeds_are_kept_apart(tmp_path: Path) -> None:
    add(tmp_path, 0, 4, trial="00003-seed0")
    wanted = add(tmp_path, 0, 1, trial="00003-seed1")
    assert newest(tmp_path, "00003-seed1") == str(wanted)
    assert newest(tmp_path) is None


def truncate(folder: Path) -> None:
    state = folder / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": truncate,
    "state missing": lambda folder: (folder / "state.pt").unlink(),
    "digest missing": lambda folder: (folder / "state.sha256").unlink(),
    "digest empty": lambda folder: (folder / "state.sha256").write_text(""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    earlier, wanted, last = add(tmp_path, 0, 0), add(tmp_path, 0, 1), add(tmp_path, 1, 0)
    damage(last)
    assert newest(tmp_path) == str(wanted)
    damage(wanted)
    assert newest(tmp_path) == str(earlier)
    damage(earlier)
    assert newest(tmp_path) is None


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path) -> None:
    wanted = add(tmp_path, 0, 1)
    folder = wanted.parent
    for name in ("checkpoint_tmp", "zz", "checkpoint_000002.partial"):
        (folder / name).mkdir()
        save_state(folder / name, {"of": name})
    (folder / "checkpoint_000009").write_text("a file")
    (tmp_path / "session-001.txt").write_text("a file")
    assert newest(tmp_path) == str(wanted)


def test_each_driver_has_a_session_of_its_own(tmp_path: Path) -> None:
    add(tmp_path, 0, 0)
    add(tmp_path, 1, 0)
    assert CheckpointStore(str(tmp_path)).next_session() == "session-002"


def test_a_session_is_new_even_after_an_old_one_was_removed(tmp_path: Path) -> None:
    add(tmp_path, 1, 0)
    assert not (tmp_path / CheckpointStore(str(tmp_path)).next_session()).exists()


def test_the_thousandth_session_is_the_latest(tmp_path: Path) -> None:
    add(tmp_path, 999, 0)
    latest = add(tmp_path, 1000, 0)
    assert newest(tmp_path) == str(latest)


def test_a_storage_given_as_an_address_is_the_same_folder(tmp_path: Path) -> None:
    wanted = add(tmp_path, 0, 3)
    found = CheckpointStore(tmp_path.as_uri()).newest(TRIAL)
    assert found is not None
    assert load_state_from(found, torch.device("cpu")) == {"session": 0, "checkpoint": 3}
    assert found.removeprefix("file://") == str(wanted)


def test_a_checkpoint_in_a_bucket_keeps_the_buckets_url() -> None:
    store = CheckpointStore("mock:///bucket/screening")
    folder = f"bucket/screening/session-000/{TRIAL}/checkpoint_000000"
    store._filesystem.create_dir(folder)
    for name, content in (("state.pt", b"state"), ("state.sha256", hashlib.sha256(b"state").hexdigest().encode())):
        with store._filesystem.open_output_stream(f"{folder}/{name}") as file:
            file.write(content)
    found = store.newest(TRIAL)
    assert found is not None
    assert found.startswith("mock://")


def test_a_trial_begins_anew_when_its_checkpoints_are_dropped(tmp_path: Path) -> None:
    for session in (0, 1):
        add(tmp_path, session, 1)
    other = add(tmp_path, 2, 0, trial="00004")
    store = CheckpointStore(str(tmp_path))
    store.drop(TRIAL)
    assert store.newest(TRIAL) is None
    assert store.newest("00004") == str(other)
    assert store.next_session() == "session-003"
