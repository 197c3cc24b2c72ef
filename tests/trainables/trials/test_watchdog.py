"""A process that hangs is ended, and says where it hung; other processes than this one, for that reason."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainables.trials.watchdog import watchdog

PROGRAM = """
import ctypes, re, sys, time
from pathlib import Path
from trainables.trials.watchdog import watchdog

def never_ending():
    {body}

with watchdog(0.5, Path(sys.argv[1])):
    never_ending()
print("went on")
"""

HANGS = {
    "sleeping": "time.sleep(60)",
    "busy in Python": "while True: pass",
    "in C with the interpreter's lock": "ctypes.PyDLL(None).sleep(60)",
    "in a regular expression": "re.match('(a+)+$', 'a' * 60 + 'b')",
}


@pytest.mark.parametrize("body", HANGS.values(), ids=HANGS.keys())
def test_a_hang_ends_the_process_and_is_told(tmp_path: Path, body: str) -> None:
    report = tmp_path / "hung.txt"
    started = time.monotonic()
    command = [sys.executable, "-c", PROGRAM.format(body=body), str(report)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert time.monotonic() - started < 30
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "in never_ending" in report.read_text()


def test_what_ends_in_time_leaves_nothing_behind(tmp_path: Path) -> None:
    report = tmp_path / "hung.txt"
    for _ in range(3):
        with watchdog(0.2, report):
            assert report.exists()
        assert not report.exists()
    time.sleep(0.3)  # the clock has stopped, or this would be the end of the tests


def test_an_exception_stops_the_clock_too(tmp_path: Path) -> None:
    report = tmp_path / "hung.txt"
    with pytest.raises(KeyError), watchdog(0.2, report):
        raise KeyError("not a hang")
    assert not report.exists()
    time.sleep(0.3)


def test_without_a_limit_there_is_no_file(tmp_path: Path) -> None:
    with watchdog(None, tmp_path / "hung.txt"):
        assert list(tmp_path.iterdir()) == []
