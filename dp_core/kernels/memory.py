"""Keeping freed memory in the process, which on a CPU is worth as much as a compiler."""

from __future__ import annotations

import ctypes
import functools
import os

# glibc's mallopt: parameter numbers from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_GIBIBYTE = 2**30


@functools.cache
def keep_freed_memory() -> bool:
    """Make the C library keep large blocks that are freed instead of giving them back; return whether it does.

    By default glibc maps every block above 32 MiB anew and unmaps it when it is freed. An activation of a large batch
    then costs a page fault for every 4 KiB at every step, which takes longer than the convolution that fills it (on
    the two cores of benchmarks/: 141 ms instead of 8 ms). The price is that a process stays as large as it once was.

    Does nothing on other C libraries, or with `WINNOW_KEEP_MEMORY=0`. The setting is for the whole process and stays.
    """
    if os.environ.get("WINNOW_KEEP_MEMORY") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2 * _GIBIBYTE - 1), (_TOP_PAD, _GIBIBYTE // 16))
    done = [mallopt(name, value) for name, value in settings]
    return done == [1, 1, 1]
