from __future__ import annotations

import os
import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from dp_core.errors import UserError
from search.runs.ray_folder import ray_folder

Usage = namedtuple("Usage", "total used free")
LONG = Path("/tmp") / ("a-user-with-a-long-name-" * 4)


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)


def test_rays_own_choice_is_kept_where_it_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with ray_folder() as folder:
        assert folder == Path("/tmp/ray")
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    with ray_folder() as folder:
        assert folder == Path("/var/tmp/ray")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    with ray_folder() as folder:
        assert folder == Path("/tmp/ray")


def longest_socket(folder: Path) -> int:
    """Return how long the path of a socket is where the driver has a number of seven digits."""
    return len(os.fsencode(folder / "session_2026-12-31_23-59-59_999999_4194304" / "sockets" / "plasma_store.1"))


@pytest.mark.parametrize("place", [LONG, Path("/tmp") / ("ж" * 20), Path("/no/such/folder"), Path("/dev/null")])
def test_another_place_is_taken_and_left_clean(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(place))
    with ray_folder() as folder:
        assert folder.parent == Path("/tmp")
        assert longest_socket(folder) <= 103
        (folder / "session_1").mkdir()
        (folder / "session_1" / "log").write_text("it started")
    assert not folder.exists()
    assert not Path("/no").exists()


def test_a_full_place_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 100, 0 if path == Path("/var/tmp") else 2**30))
    with ray_folder() as folder:
        assert folder.parent == Path("/tmp")


def test_where_there_is_no_place_one_sentence_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(LONG))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 97, 3 * 2**20))
    expected = (
        rf"^Ray has no folder for its sockets and logs: {re.escape(str(LONG))} has a path that is \d+ bytes too long "
        r"for sockets; /no/such does not exist; /tmp has 3 MiB left\. Set TMPDIR to another one\.$"
    )
    with pytest.raises(UserError, match=expected), ray_folder((Path("/no/such"), Path("/tmp"))):
        pass
