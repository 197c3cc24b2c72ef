"""What this machine, or the container Winnow runs in, has to offer: CPU threads, free memory, GPUs."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dp_core.errors import UserError

GIB = 2**30
"""Bytes of a gibibyte."""


@dataclass(frozen=True)
class Machine:
    """What a process on this machine may use.

    Attributes:
        cpus: Threads that may run at once, after CPU affinity and control-group quotas.
        memory_bytes: Bytes that can still be taken without swapping, after control-group limits.
        gpus: The name of each GPU that PyTorch sees, in device order.
    """

    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return one line such as `2 CPU threads, 21.3 GiB of memory free, 2 × NVIDIA A10G`."""
        names = [f"{count} × {name}" if count > 1 else name for name, count in Counter(self.gpus).items()]
        gpus = ", ".join(names) or "no GPU"
        return f"{_counted(self.cpus, 'CPU thread')}, {self.memory_bytes / GIB:.1f} GiB of memory free, {gpus}"

    def require(self, *, cpus: int, memory_bytes: int, gpus: float, keys: tuple[str, str, str]) -> None:
        """Check that what is to run at once fits this machine.

        Args:
            keys: the config's keys of how much runs at once, and of the CPUs and the GPUs of each.
            cpus: CPU threads of all trials that run at once.
            memory_bytes: Bytes of all trials that run at once.
            gpus: GPUs of all trials that run at once; trials may share one.

        Raises:
            UserError: Something is short; the sentence says what, by how much and which keys to lower.
        """
        shortages = []
        if cpus > self.cpus:
            shortages.append((f"{_counted(cpus, 'CPU thread')} where {self.cpus} can be used", keys[1]))
        if gpus > len(self.gpus):
            shortages.append((f"{_counted(gpus, 'GPU')} where {len(self.gpus)} can be used", keys[2]))
        if memory_bytes > self.memory_bytes:
            wanted, free = memory_bytes / GIB, self.memory_bytes / GIB
            shortages.append((f"{wanted:.1f} GiB of memory where {free:.1f} GiB are free", ""))
        if shortages:
            asked = " and ".join(text for text, _ in shortages)
            lower = " or ".join([keys[0], *(key for _, key in shortages if key)])
            raise UserError(f"What is to run at once needs {asked}: lower {lower}.")


def this_machine() -> Machine:
    """Return what the calling process may use now."""
    return Machine(usable_cpus(), free_memory(), _gpu_names())


def usable_cpus(root: Path = Path("/")) -> int:
    """Return how many threads this process may run at once, at least 1.

    Args:
        root: Where `/proc` and `/sys` are found.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min([allowed, *_cpu_quotas(root)])))


def free_memory(root: Path = Path("/")) -> int:
    """Return how many bytes this process can still take, at least 0.

    The file cache counts as free, in the machine as in a control group: the kernel gives it up when asked.

    Args:
        root: Where `/proc` and `/sys` are found.
    """
    return max(0, min([_available_memory(root), *_memory_left_in_groups(root)]))


def _gpu_names() -> tuple[str, ...]:
    import torch  # takes seconds to import, and most commands do not need it

    return tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _available_memory(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cpu_quotas(root: Path) -> Iterator[float]:
    for group in _groups(root, "cpu"):
        limit = _numbers(group / "cpu.max", 2) or (
            _numbers(group / "cpu.cfs_quota_us", 1) + _numbers(group / "cpu.cfs_period_us", 1)
        )
        if len(limit) == 2 and limit[0] > 0:
            yield limit[0] / limit[1]


def _memory_left_in_groups(root: Path) -> Iterator[int]:
    for group in _groups(root, "memory"):
        for limit_file, usage_file, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, usage = _numbers(group / limit_file, 1), _numbers(group / usage_file, 1)
            if limit and usage:
                yield limit[0] - usage[0] + _statistic(group / "memory.stat", cache)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups (version 1 and 2) this process is in, innermost first.

    Inside a container the inner ones often cannot be seen; the container's own limit is then in the outermost.
    """
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        outermost = mount / controller if controllers else mount
        innermost = outermost / path.lstrip("/")
        yield from (folder for folder in (innermost, *innermost.parents) if folder.is_relative_to(outermost))


def _statistic(file: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in _lines(file) if line.startswith(f"{name} ")), 0)


def _numbers(file: Path, count: int) -> tuple[int, ...]:
    """Return the `count` numbers on the file's first line; none where there is no file or no limit (`max`)."""
    words = next(iter(_lines(file)), "").split()[:count]
    return tuple(map(int, words)) if len(words) == count and "max" not in words else ()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _counted(number: float, noun: str) -> str:
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"
