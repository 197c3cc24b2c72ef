"""The journal of scores: whatever a killed driver leaves, whole lines stay and the half one goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_core.errors import UserError
from search.proxies.journal import ScoreJournal

ROWS = [{"architecture": f"net {number}", "proxy": "nwot", "value": number / 3} for number in range(4)]


def test_rows_come_back_in_the_order_of_writing(tmp_path: Path) -> None:
    journal = ScoreJournal(tmp_path / "scores.jsonl")
    assert journal.read() == []
    journal.append(ROWS[:1])
    journal.append(ROWS[1:])
    assert journal.read() == ROWS
    assert ScoreJournal(tmp_path / "scores.jsonl").read() == ROWS


@given(cut=st.integers(min_value=0, max_value=10_000))
def test_wherever_the_file_is_cut_off_whole_rows_are_kept_and_more_can_be_added(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "scores.jsonl"
    ScoreJournal(path).append(ROWS)
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == 10]
    cut %= len(whole) + 1
    path.write_bytes(whole[:cut])
    kept = sum(end <= cut for end in ends)
    journal = ScoreJournal(path)
    assert journal.read() == ROWS[:kept]
    journal.append([{"architecture": "new"}])
    assert journal.read() == [*ROWS[:kept], {"architecture": "new"}]


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    ScoreJournal(path).append(ROWS)
    lines = path.read_bytes().split(b"\n")
    lines[1] = b"\xff\xfe{"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"scores\.jsonl, line 2: this is not what winnow wrote"):
        ScoreJournal(path).read()
