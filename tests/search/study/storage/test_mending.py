"""A damaged journal on the disk, opened again."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

import search.study.storage.mending as mending
from dp_core.errors import UserError
from search.config.objectives import objectives_of
from search.study.storage.mending import mend, mirror_of, read_copies
from search.study.storage.mirror import reconcile
from search.study.storage.store import TrialStore, read_trials
from tests.search.study.events import expected, proposal, said, tell


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return a journal of four trials."""
    path = tmp_path / "study.journal"
    tell(TrialStore.open(path, None, "winnow", objectives_of(["score"])))
    return path


def opened(journal: Path) -> TrialStore:
    return TrialStore.open(journal, None, "winnow", objectives_of(["score"]))


def changed(path: Path, line: int, was: bytes, now: bytes) -> None:
    """Damage a line of a file, counting from 1."""
    lines = path.read_bytes().split(b"\n")
    assert was in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(was, now)
    path.write_bytes(b"\n".join(lines))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_whole_is_left_alone(journal: Path) -> None:
    before = contents(journal.parent)
    times = journal.stat().st_mtime_ns, mirror_of(journal).stat().st_mtime_ns
    assert mend(journal) == ()
    assert contents(journal.parent) == before
    assert (journal.stat().st_mtime_ns, mirror_of(journal).stat().st_mtime_ns) == times


# The study and the names of its values, four trials, two lines a round with a value, one without; a trial's end is its
# state behind its reason, and behind its constraints.
LINES = 2 + 4 + 3 * 2 + 1 + 2 + 3 + 2


def test_the_journal_has_one_line_an_event_of_optunas(journal: Path) -> None:
    assert journal.read_bytes().count(b"\n") == LINES == mirror_of(journal).read_bytes().count(b"\n")


def test_a_damaged_line_is_restored_and_it_is_said(journal: Path) -> None:
    before = contents(journal.parent)
    changed(journal, 7, b'"intermediate_value":0.25', b'"intermediate_value":0.29')
    store = opened(journal)
    assert store.notes == (f"Line 7 of {journal} was damaged and was restored from study.journal.mirror.",)
    assert said(store.trials()) == expected()
    assert contents(journal.parent) == before
    assert opened(journal).notes == ()


def test_several_damaged_lines_are_one_sentence(journal: Path) -> None:
    for line in (3, 4, 8):
        changed(journal, line, b"op_code", b"op-code")
    assert mend(journal) == (
        f"Each of 3 lines from line 3 on of {journal} was damaged and was restored from study.journal.mirror.",
    )


@pytest.mark.parametrize(("lines", "said_of"), [(1, "its last line"), (5, "its last 5 lines")])
def test_a_journal_that_was_cut_short_is_completed(journal: Path, lines: int, said_of: str) -> None:
    before = contents(journal.parent)
    kept = journal.read_bytes().split(b"\n")[: LINES - lines]
    journal.write_bytes(b"\n".join(kept) + b'\n{"op_')
    assert mend(journal) == (f"{journal} had lost {said_of}, restored from study.journal.mirror.",)
    assert contents(journal.parent) == before


def test_no_cut_and_no_flipped_bit_of_the_journal_changes_a_line(journal: Path) -> None:
    whole, mirror = journal.read_bytes(), mirror_of(journal).read_bytes()
    lines = tuple(whole.splitlines())
    for at in range(len(whole)):
        assert reconcile(whole[:at], mirror).lines == lines
        assert reconcile(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :], mirror).lines == lines


def test_wherever_a_bit_is_flipped_or_the_journal_cut_the_study_is_what_was_told(journal: Path) -> None:
    whole, mirror = journal.read_bytes(), mirror_of(journal).read_bytes()
    for at in range(0, len(whole), 97):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :]):
            journal.write_bytes(damaged)
            store = opened(journal)
            assert len(store.notes) == 1
            assert said(store.trials()) == expected()
            assert (journal.read_bytes(), mirror_of(journal).read_bytes()) == (whole, mirror)


def test_a_journal_that_is_gone_is_restored(journal: Path) -> None:
    journal.unlink()
    assert said(read_trials(journal, None, "winnow")) == expected()
    store = opened(journal)
    assert store.notes == (f"{journal} had lost its last {LINES} lines, restored from study.journal.mirror.",)
    assert said(store.trials()) == expected()


def test_a_damaged_mirror_is_restored(journal: Path) -> None:
    before = contents(journal.parent)
    changed(mirror_of(journal), 2, b"op_code", b"op-code")
    assert mend(journal) == (f"Line 2 of {mirror_of(journal)} was damaged and was restored from study.journal.",)
    assert contents(journal.parent) == before


@pytest.mark.parametrize("mirror", [b"", None])
def test_a_journal_of_before_there_were_mirrors_gets_one(journal: Path, mirror: bytes | None) -> None:
    before = contents(journal.parent)
    mirror_of(journal).unlink()
    if mirror is not None:
        mirror_of(journal).write_bytes(mirror)
    assert mend(journal) == ()
    assert contents(journal.parent) == before


def test_half_a_line_that_nobody_has_whole_is_dropped(journal: Path) -> None:
    before = contents(journal.parent)
    for path, half in ((journal, b'{"op_code": 8, "wor'), (mirror_of(journal), b"00c0ffee {")):
        path.write_bytes(path.read_bytes() + half)
    assert mend(journal) == (
        f"The last line of {journal} was only half written and was dropped.",
        f"The last line of {mirror_of(journal)} was only half written and was dropped.",
    )
    assert contents(journal.parent) == before


def test_what_is_damaged_in_both_is_set_aside_with_what_follows(journal: Path) -> None:
    before = contents(journal.parent)
    changed(journal, 7, b"op_code", b"op\x00code")
    changed(mirror_of(journal), 7, b"op_code", b"op code")
    store = opened(journal)
    assert store.notes == (
        f"Line 7 of {journal} is damaged beyond repair: it and what follows were set aside in "
        "study.journal.damaged-1 and study.journal.mirror.damaged-1.",
    )
    # The first six lines tell of the study and of four trials that run.
    assert [trial["state"] for trial in said(store.trials())] == ["RUNNING"] * 4
    lines = before["study.journal"].split(b"\n")
    aside = journal.with_name("study.journal.damaged-1").read_bytes()
    assert aside == b"\n".join([lines[6].replace(b"op_code", b"op\x00code"), *lines[7:]])
    assert store.add(proposal()) == 4
    assert opened(journal).notes == ()


def test_a_second_damage_is_set_aside_beside_the_first(journal: Path) -> None:
    for number in (1, 2):
        for path in (journal, mirror_of(journal)):
            changed(path, 7 - number, b"op_code", b"op?code")
        assert f"study.journal.damaged-{number} " in mend(journal)[0]
    assert len(list(journal.parent.glob("*.damaged-*"))) == 4


def test_where_even_the_first_line_is_lost_there_is_a_new_study(journal: Path) -> None:
    for path in (journal, mirror_of(journal)):
        changed(path, 1, b"op_code", b"op?code")
    assert opened(journal).add(proposal()) == 0


def test_a_kill_while_mending_leaves_what_was_found(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(journal, 7, b"0.25", b"0.29")
    before = contents(journal.parent)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            mend(journal)
    assert contents(journal.parent) == before
    assert said(opened(journal).trials()) == expected()


@pytest.mark.parametrize("copy", ["study.journal", "study.journal.mirror"])
def test_what_is_missing_is_appended_for_there_may_be_no_room_for_a_copy(
    journal: Path, monkeypatch: pytest.MonkeyPatch, copy: str
) -> None:
    before, path = contents(journal.parent), journal.with_name(copy)
    path.write_bytes(path.read_bytes()[:-300])

    def none(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", none)
    mend(journal)
    assert contents(journal.parent) == before


def test_no_room_to_mend_is_told(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(journal, 7, b"0.25", b"0.29")
    before = contents(journal.parent)

    def none(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", none)
    with pytest.raises(UserError, match=f"^There is no room left on the disk for {journal}\\.$"):
        mend(journal)
    assert contents(journal.parent) == before


def test_reading_undoes_damage_without_writing(journal: Path) -> None:
    changed(journal, 7, b"0.25", b"0.29")
    changed(mirror_of(journal), 9, b"op_code", b"op?code")
    before = contents(journal.parent)
    assert said(read_trials(journal, None, "winnow")) == expected()
    assert contents(journal.parent) == before


def test_a_driver_that_writes_while_it_is_read_does_no_harm(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = opened(journal), mending._bytes_of

    def reading(path: Path) -> bytes:
        content = read(path)
        store.end(3, TrialState.FAIL, None, {}, {})  # between the two files
        return content

    monkeypatch.setattr(mending, "_bytes_of", reading)
    found = read_copies(journal)
    assert len(found.lines) == LINES + 1
    assert found.torn
