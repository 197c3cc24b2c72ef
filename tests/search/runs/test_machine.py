from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_core.errors import UserError
from search.runs.machine import GIB, Machine, free_memory, this_machine, usable_cpus

MIB = 2**20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with 8 GiB available and no control groups."""
    write(tmp_path / "proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 1048576 kB\nMemAvailable: 8388608 kB\n")
    return tmp_path


@pytest.fixture(autouse=True)
def sixteen_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_without_control_groups_the_machine_itself_is_the_limit(root: Path) -> None:
    assert usable_cpus(root) == 16
    assert free_memory(root) == 8 * GIB


def test_version_2_limits_of_every_level_count(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/jobs/mine\n")
    groups = root / "sys/fs/cgroup"
    write(groups / "jobs/mine/cpu.max", "max 100000\n")
    write(groups / "jobs/cpu.max", "250000 100000\n")
    write(groups / "jobs/mine/memory.max", "max\n")
    write(groups / "jobs/mine/memory.current", f"{900 * MIB}\n")
    write(groups / "jobs/memory.max", f"{2048 * MIB}\n")
    write(groups / "jobs/memory.current", f"{1000 * MIB}\n")
    write(groups / "jobs/memory.stat", f"anon 1\ninactive_file {300 * MIB}\nactive_file 5\n")
    assert usable_cpus(root) == 2  # 2.5 CPUs run two threads, not three
    assert free_memory(root) == (2048 - 1000 + 300) * MIB


def test_inside_a_container_only_the_outermost_folder_is_seen(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/docker/0123abcd\n")
    write(root / "sys/fs/cgroup/cpu.max", "50000 100000\n")
    write(root / "sys/fs/cgroup/memory.max", f"{512 * MIB}\n")
    write(root / "sys/fs/cgroup/memory.current", f"{112 * MIB}\n")
    assert usable_cpus(root) == 1  # half a CPU still runs one thread
    assert free_memory(root) == 400 * MIB


def test_version_1_limits(root: Path) -> None:
    write(root / "proc/self/cgroup", "5:memory:/a\n4:cpu,cpuacct:/a\n3:name=systemd:/a\n")
    groups = root / "sys/fs/cgroup"
    write(groups / "cpu/a/cpu.cfs_quota_us", "400000\n")
    write(groups / "cpu/a/cpu.cfs_period_us", "100000\n")
    write(groups / "cpu/cpu.cfs_quota_us", "-1\n")
    write(groups / "cpu/cpu.cfs_period_us", "100000\n")
    write(groups / "memory/a/memory.limit_in_bytes", f"{1024 * MIB}\n")
    write(groups / "memory/a/memory.usage_in_bytes", f"{500 * MIB}\n")
    write(groups / "memory/a/memory.stat", f"cache 1\ninactive_file {7 * MIB}\ntotal_inactive_file {100 * MIB}\n")
    write(groups / "memory/memory.limit_in_bytes", "9223372036854771712\n")  # what version 1 says for no limit
    write(groups / "memory/memory.usage_in_bytes", f"{900 * MIB}\n")
    assert usable_cpus(root) == 4
    assert free_memory(root) == (1024 - 500 + 100) * MIB


def test_a_group_over_its_limit_has_nothing_left(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/\n")
    write(root / "sys/fs/cgroup/memory.max", "100\n")
    write(root / "sys/fs/cgroup/memory.current", "150\n")
    assert free_memory(root) == 0


def test_affinity_limits_the_threads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 9}, raising=False)
    assert usable_cpus(root) == 3


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="needs Linux")
def test_free_memory_is_part_of_the_memory_there_is() -> None:
    machine = this_machine()
    assert 0 < machine.memory_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.cpus == usable_cpus()


def test_describe() -> None:
    assert Machine(1, 3 * GIB // 2).describe() == "1 CPU thread, 1.5 GiB of memory free, no GPU"
    two = Machine(8, 64 * GIB, ("NVIDIA A10G", "NVIDIA A10G", "NVIDIA L4"))
    assert two.describe() == "8 CPU threads, 64.0 GiB of memory free, 2 × NVIDIA A10G, NVIDIA L4"


counts = st.integers(0, 64)
KEYS = ("resources.concurrency", "resources.cpus_per_job", "resources.gpus_per_job")


@given(counts, counts, counts, counts, counts, st.floats(0, 64))
def test_require_passes_exactly_when_everything_fits(
    cpus: int, memory: int, gpus: int, cpus_needed: int, memory_needed: int, gpus_needed: float
) -> None:
    machine = Machine(cpus, memory, ("GPU",) * gpus)
    fits = cpus_needed <= cpus and memory_needed <= memory and gpus_needed <= gpus
    try:
        machine.require(cpus=cpus_needed, memory_bytes=memory_needed, gpus=gpus_needed, keys=KEYS)
    except UserError:
        assert not fits
    else:
        assert fits


def test_require_names_what_is_short_and_the_keys_to_lower() -> None:
    machine = Machine(2, 4 * GIB)
    with pytest.raises(UserError) as short_of_cpus:
        machine.require(cpus=8, memory_bytes=GIB, gpus=0, keys=KEYS)
    assert str(short_of_cpus.value) == (
        "What is to run at once needs 8 CPU threads where 2 can be used: "
        "lower resources.concurrency or resources.cpus_per_job."
    )
    with pytest.raises(UserError) as short_of_the_rest:
        machine.require(cpus=1, memory_bytes=6 * GIB, gpus=0.5, keys=KEYS)
    assert str(short_of_the_rest.value) == (
        "What is to run at once needs 0.5 GPUs where 0 can be used and 6.0 GiB of memory where 4.0 GiB are "
        "free: lower resources.concurrency or resources.gpus_per_job."
    )
