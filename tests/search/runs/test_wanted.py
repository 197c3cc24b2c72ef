"""What a run is to make, noted and read again."""

from __future__ import annotations

from pathlib import Path

from search.comparison.wanted import WantedComparison, WantedTickets
from search.runs.directory import RunDirectory
from search.runs.wanted import note_wanted, noted_wanted

WANTED = WantedComparison({"net": {"imp": WantedTickets(True, (0.5, 0.8))}}, seeds=2, tuned=False)


def test_what_was_noted_comes_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    note_wanted(run, WANTED)
    assert noted_wanted(run, WantedComparison) == WANTED


def test_of_a_run_that_needs_no_note_none_is_made(tmp_path: Path) -> None:
    note_wanted(RunDirectory(tmp_path), None)
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_is_not_there_or_damaged_is_none(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert noted_wanted(run, WantedComparison) is None
    for content in ("", "{", '{"networks": {}}', "[]"):
        run.wanted.write_text(content)
        assert noted_wanted(run, WantedComparison) is None
