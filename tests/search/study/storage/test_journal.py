"""The journal that is written: what stock Optuna makes of it, and what a full disk leaves."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dp_core.errors import UserError
from search.config.objectives import objectives_of
from search.study.storage.journal import MirroredJournal, open_journal, read_journal
from search.study.storage.mending import mirror_of, read_copies
from search.study.storage.store import TrialStore, read_trials
from tests.search.study.events import expected, proposal, said, tell


def opened(folder: Path) -> TrialStore:
    return TrialStore.open(folder / "study.journal", None, "winnow", objectives_of(["score"]))


def stock_study(folder: Path) -> optuna.Study:
    """Open the journal with nothing but Optuna."""
    return optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))))


def agree(folder: Path) -> bool:
    found = read_copies(folder / "study.journal")
    return found.journal_is_whole and found.mirror_is_whole


def test_the_lines_are_those_that_optuna_itself_would_have_written(tmp_path: Path) -> None:
    logs: list[dict[str, Any]] = [
        {"op_code": 2, "worker_id": "é", "study_id": 0, "user_attr": {"a": [1.5, None]}},
        {"op_code": 1},
    ]
    ours, stock = tmp_path / "ours", tmp_path / "stock"
    MirroredJournal(ours).append_logs(logs)
    JournalFileBackend(str(stock)).append_logs(logs)
    assert ours.read_bytes() == stock.read_bytes()
    assert b"".join(line[9:] for line in mirror_of(ours).read_bytes().splitlines(keepends=True)) == ours.read_bytes()


def test_stock_optuna_reads_what_was_told(tmp_path: Path) -> None:
    tell(opened(tmp_path))
    study = stock_study(tmp_path)
    assert said(study.get_trials()) == expected()
    assert (study.best_trial.number, study.best_value) == (0, 0.75)
    assert study.get_trials()[0].constraints == {"latency": -0.5, "flops": -2.0}


def test_what_stock_optuna_appends_is_taken_and_mirrored(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.add(proposal()) == 0
    stock_study(tmp_path).enqueue_trial({"sparsity": 0.5})
    assert store.add(proposal()) == 2
    assert agree(tmp_path)
    stock_study(tmp_path).tell(0, state=TrialState.FAIL)
    reopened = opened(tmp_path)
    assert reopened.notes == ()
    assert [trial.state.name for trial in reopened.trials()] == ["FAIL", "WAITING", "RUNNING"]
    assert agree(tmp_path)


def test_what_stock_optuna_has_ended_stays_as_it_is(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add(proposal())
    stock_study(tmp_path).tell(0, state=TrialState.FAIL)
    before = (tmp_path / "study.journal").read_bytes()
    store.keep_round(0, "round:0001", {"score": 0.25}, 1, 0.25)
    store.end(0, TrialState.COMPLETE, [0.5], {}, {})
    assert (tmp_path / "study.journal").read_bytes() == before
    assert [(trial.state, trial.value) for trial in store.trials()] == [(TrialState.FAIL, None)]


def test_half_a_line_of_someone_who_was_killed_is_taken_away_before_the_next(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add(proposal())
    stock_study(tmp_path).enqueue_trial({"sparsity": 0.5})
    with (tmp_path / "study.journal").open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    assert store.add(proposal()) == 2
    assert [trial.state.name for trial in stock_study(tmp_path).get_trials()] == ["RUNNING", "WAITING", "RUNNING"]
    assert agree(tmp_path)


@pytest.mark.parametrize("cut", [lambda path: os.truncate(path, 30), os.unlink])
def test_a_journal_that_shrinks_meanwhile_is_no_place_to_write(tmp_path: Path, cut: Callable[[Path], None]) -> None:
    store = opened(tmp_path)
    store.add(proposal())
    cut(tmp_path / "study.journal")
    with pytest.raises(UserError, match=r"study\.journal was cut short by something else"):
        store.add(proposal())
    # What the mirror has is not lost by it.
    assert opened(tmp_path).add(proposal()) == 1


def test_the_journal_is_on_the_disk_before_the_mirror_has_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, lines = opened(tmp_path), []
    fsync = os.fsync

    def counting(descriptor: int) -> None:
        journal = tmp_path / "study.journal"
        lines.append(tuple(path.read_bytes().count(b"\n") for path in (journal, mirror_of(journal))))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counting)
    store.add(proposal())
    store.keep_round(0, "round:0001", {"score": 0.5}, 1, 0.5)
    store.end(0, TrialState.COMPLETE, [0.5], {"reason": "done"}, {"flops": 1.0})
    # One flush an event: a trial, two lines of a round, three lines of an end.
    assert lines == [(3, 2), (5, 3), (8, 5)]


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_lock_that_a_killed_driver_left_is_removed(tmp_path: Path, kind: str) -> None:
    opened(tmp_path).add(proposal())
    lock = tmp_path / "study.journal.lock"
    lock.symlink_to(tmp_path / "study.journal") if kind == "link" else lock.write_text("")
    assert opened(tmp_path).add(proposal()) == 1
    assert not lock.is_symlink()
    assert not lock.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("room", [0, 10, 700, 10_000])
def test_a_full_disk_is_told_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, room: int
) -> None:
    store = opened(tmp_path)
    store.add(proposal())
    store.keep_round(0, "round:0001", {"score": 0.5}, 1, 0.5)
    pwrite, left = os.pwrite, [room]

    def full(descriptor: int, content: Any, at: int) -> int:
        if left[0] == 0:
            raise OSError(number, os.strerror(number))
        left[0] -= (taken := min(left[0], len(content)))
        return pwrite(descriptor, content[:taken], at)

    events: list[Callable[[], object]] = [
        lambda: store.add(proposal()),
        lambda: store.keep_round(0, "round:0002", {"score": 0.75, "text": "x" * 500}, 2, 0.75),
        lambda: store.end(0, TrialState.COMPLETE, [0.75], {"reason": "y" * 500}, {}),
    ]
    journal = tmp_path / "study.journal"
    for event in events:
        left[0] = room
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            if room < 10_000:
                with pytest.raises(UserError, match=f"^There is no room left on the disk for {journal}\\.$"):
                    event()
            else:
                event()
        for path in (journal, mirror_of(journal)):
            assert path.read_bytes().endswith(b"\n")
        assert opened(tmp_path).notes == ()
    if room < 10_000:
        resumed = opened(tmp_path)
        tell_again(resumed)
    assert stock_study(tmp_path).get_trials()[0].value == 0.75
    assert agree(tmp_path)


def tell_again(store: TrialStore) -> None:
    """Tell what the disk had no room for."""
    store.keep_round(0, "round:0002", {"score": 0.75}, 2, 0.75)
    store.end(0, TrialState.COMPLETE, [0.75], {}, {})


def test_a_lock_that_finds_no_room_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "symlink", full)
    with pytest.raises(UserError, match="There is no room left on the disk for"):
        store.add(proposal())


def test_an_error_in_the_middle_of_an_event_writes_nothing_of_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add(proposal())
    before = (tmp_path / "study.journal").read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        MirroredJournal(tmp_path / "study.journal").append_logs([{"op_code": 2, "worker_id": "w", "a": object()}])
    medium = open_journal(tmp_path / "study.journal")

    def broken() -> None:
        with medium.together():
            medium.storage.set_trial_user_attr(0, "one", 1)
            raise RuntimeError("between the two")

    with pytest.raises(RuntimeError, match="between the two"):
        broken()
    assert (tmp_path / "study.journal").read_bytes() == before
    assert "one" not in medium.storage.get_trial(0).user_attrs


def test_what_was_only_read_cannot_be_written(tmp_path: Path) -> None:
    tell(opened(tmp_path))
    storage = read_journal(tmp_path / "study.journal")
    assert storage is not None
    with pytest.raises(PermissionError):
        storage.set_trial_user_attr(3, "one", 1)


def test_what_optuna_cannot_read_is_named(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    journal.write_bytes(b'{"op_code":4,"worker_id":"w"}\n')
    for read in (lambda: opened(tmp_path), lambda: read_trials(journal, None, "winnow")):
        with pytest.raises(UserError, match=rf"^{journal} is damaged: 'study_id'\.$"):
            read()
