from __future__ import annotations

import errno

import pytest
import torch

from dp_core.errors import UserError
from dp_core.training.splitting import OneImageTooLarge
from trainables.trials.failures import is_own_failure, lacks_memory, reason_of, traceback_of


def caught(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as raised:
        return raised


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "own"),
    [
        (ValueError("no"), True),
        (FileNotFoundError(errno.ENOENT, "no such file"), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (FULL, False),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), False),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), False),
    ],
)
def test_a_full_disk_and_a_broken_gpu_are_no_fault_of_a_candidate(error: Exception, own: bool) -> None:
    assert is_own_failure(error) is own


def test_a_full_disk_is_known_by_what_was_made_of_it() -> None:
    assert not is_own_failure(caught(UserError("There is no room left on the disk for x."), FULL))
    assert not is_own_failure(caught(RuntimeError("again"), caught(UserError("no room"), FULL)))
    assert is_own_failure(caught(UserError("no"), ValueError("no")))


def test_a_chain_that_bites_its_tail_has_an_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert is_own_failure(first)


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (OneImageTooLarge("The memory of cpu does not hold one image of 3×8×8 in training."), True),
        (UserError("The memory is fine."), False),
        (RuntimeError("shapes differ"), False),
    ],
)
def test_a_lack_of_memory_has_several_names(error: Exception, lacks: bool) -> None:
    assert lacks_memory(error) is lacks


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("the\n  first\tline"), "ValueError: the first line"),
        (ValueError(), "ValueError"),
        (UserError("A sentence."), "UserError: A sentence."),
        (KeyError("name"), "KeyError: 'name'"),
    ],
)
def test_a_reason_is_one_line(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_a_reason_has_at_most_500_characters() -> None:
    assert reason_of(ValueError("x" * 1000)) == "ValueError: " + "x" * 488


def test_the_traceback_says_where() -> None:
    found = traceback_of(caught(ValueError("here")))
    assert found.startswith("Traceback (most recent call last):\n")
    assert "in caught\n" in found
    assert found.endswith("ValueError: here\n")
