"""What came to nothing, on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.pipeline.bad_ends import BadEnd, BadEnds, read_bad_ends


def names(trial: int) -> list[str]:
    """Two seeds of one recipe."""
    return [f"{trial}-0-x", f"{trial}-1-x"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bad_ends.json"


def test_an_end_is_on_the_disk_at_once_and_known_once(path: Path) -> None:
    ends = BadEnds(path)
    assert list(ends) == []
    ends.add(BadEnd(3, "diverged", "the loss became nan", "3-0-x"))
    ends.add(BadEnd(4, "collapsed", "a layer is empty"))
    ends.add(BadEnd(3, "failed", "its worker was lost", "3-0-x"))
    expected = (BadEnd(4, "collapsed", "a layer is empty"), BadEnd(3, "failed", "its worker was lost", "3-0-x"))
    assert read_bad_ends(path) == tuple(BadEnds(path)) == expected
    assert expected[0].sentence == "the ticket of trial 4 collapsed: a layer is empty"
    assert expected[1].sentence == "the retraining 3-0-x failed: its worker was lost"


def test_a_ticket_is_lost_when_it_is_not_there_or_no_seed_came_to_anything(path: Path) -> None:
    ends = BadEnds(path)
    ends.add(BadEnd(1, "collapsed", "r"))
    ends.add(BadEnd(2, "diverged", "r", "2-0-x"))
    assert ends.lost(names, {}) == {1}  # of trial 2 one seed has not been tried
    ends.add(BadEnd(2, "diverged", "r", "2-1-x"))
    assert ends.lost(names, {}) == {1, 2}
    assert ends.lost(names, {"2-1-x": path}) == {1}
    assert ends.lost(lambda trial: [f"{trial}-0-another recipe"], {}) == {1}
    ends.forget(["2-1-x", "7-0-x"])
    assert ends.retrainings() == {"2-0-x"}
    assert ends.tickets() == {1}


@pytest.mark.parametrize("content", ["", "{", '[{"trial": 1}]', "[1]"])
def test_a_damaged_file_is_found_out_again(path: Path, content: str) -> None:
    path.write_text(content)
    assert read_bad_ends(path) == ()
