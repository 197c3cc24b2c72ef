from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from dp_core.kernels import keep_freed_memory, memory

GLIBC = platform.libc_ver()[0] == "glibc"

# Writes five times to 64 MiB that were freed before, and prints the page faults of that. memory.py alone is loaded, so
# that the process does not import torch.
FAULTS = """
import resource, runpy, sys
print(runpy.run_path(sys.argv[1])["keep_freed_memory"]() if len(sys.argv) > 1 else None)
len(b"x" * 2**26)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    len(bytes([1]) * 2**26)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(*arguments: str, keep: str | None = None) -> tuple[str, int]:
    """Return what `keep_freed_memory` returned in a process of its own, and the page faults."""
    environment = {name: value for name, value in os.environ.items() if name != "WINNOW_KEEP_MEMORY"}
    environment |= {} if keep is None else {"WINNOW_KEEP_MEMORY": keep}
    command = [sys.executable, "-c", FAULTS, *arguments]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    return lines[0], int(lines[1])


@pytest.mark.skipif(not GLIBC, reason="a setting of glibc's")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    _, plain = run()
    answer, kept = run(memory.__file__)
    assert answer == "True"
    # Without, every step maps 64 MiB anew: 16384 pages, or at least 32 where the system gives pages of 2 MiB.
    assert plain >= 5 * 32
    assert kept < plain / 4


@pytest.mark.skipif(not GLIBC, reason="a setting of glibc's")
def test_it_can_be_turned_off() -> None:
    answer, faults = run(memory.__file__, keep="0")
    assert answer == "False"
    assert faults >= 5 * 32
    assert run(memory.__file__, keep="1")[0] == "True"


def test_the_answer_is_given_at_once_and_again() -> None:
    assert keep_freed_memory() is keep_freed_memory()
    assert isinstance(keep_freed_memory(), bool)


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINNOW_KEEP_MEMORY", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert memory.keep_freed_memory.__wrapped__() is False


@pytest.mark.parametrize("refused", [-1, -2, -4])
def test_a_setting_that_is_refused_is_told(monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    class Refusing:
        @staticmethod
        def mallopt(name: int, value: int) -> int:
            return int(name != refused)

    monkeypatch.delenv("WINNOW_KEEP_MEMORY", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Refusing)
    assert memory.keep_freed_memory.__wrapped__() is False
