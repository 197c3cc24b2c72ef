"""What `winnow doctor` looks at: whether this machine has what a search needs, each point in one line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from search.runs.machine import GIB, free_memory, usable_cpus
from search.runs.ray_session import ray_session

LEAST_DISK_BYTES = 2 * GIB
"""Free disk below which a search with checkpoints is likely to fail."""

LEAST_MEMORY_BYTES = 2 * GIB
"""Free memory below which Ray and two small trials do not fit."""

OBJECT_STORE_SHARE = 0.3
"""The share of memory Ray's object store takes by default, out of shared memory."""


@dataclass(frozen=True)
class Check:
    """One point that was looked at.

    Attributes:
        name: What was looked at, a few words.
        ok: Whether it is as it should be; None where a search runs without it, or with less.
        detail: What was found and, where it is not well, what to do.
    """

    name: str
    ok: bool | None
    detail: str


def diagnose(data: Sequence[tuple[str, Path]], runs: Path) -> list[Check]:
    """Look at versions, CPU, GPUs, memory, disk and data; takes a few seconds and leaves nothing behind.

    Args:
        data: Names and folders or files of data sets that should be there.
        runs: The folder that runs are written to; it need not exist yet.
    """
    return [
        check_python(),
        *check_versions(),
        check_cpu(),
        check_bfloat16(_cpu_flags()),
        check_kernels(_has_kernels()),
        *check_gpus(),
        check_memory(free_memory()),
        check_shared_memory(Path("/dev/shm"), free_memory()),
        check_writing(runs),
        check_disk(runs),
        *(check_data(name, path) for name, path in data),
    ]


def check_python() -> Check:
    """Return the running Python and whether it is recent enough."""
    version = platform.python_version()
    return Check("python", sys.version_info >= (3, 11), f"{version} at {sys.executable} (3.11 or newer is needed)")


def check_versions(distribution: str = "winnow") -> list[Check]:
    """Compare what is installed with the bounds in the metadata of `distribution`, a line for each library."""
    try:
        required = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return [Check("libraries", None, f"{distribution} is not installed as a package, so its bounds are not known")]
    requirements = [Requirement(text) for text in required]
    return [check_version(each) for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]


def check_version(requirement: Requirement) -> Check:
    """Compare the installed version of one library with the bounds in `requirement`."""
    bounds = str(requirement.specifier) or "any version"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Check(requirement.name, False, f"not installed ({bounds} is needed); run make setup")
    fits = requirement.specifier.contains(version, prereleases=True)
    return Check(requirement.name, fits, f"{version} ({bounds})" + ("" if fits else "; run make setup"))


def check_cpu() -> Check:
    """Return the CPU's model, its cores, its threads and how many of those can be used."""
    model = _cpu_field("model name") or platform.processor() or platform.machine()
    siblings = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    cores = len({file.read_text() for file in siblings}) or "unknown"
    return Check("cpu", True, f"{model}; cores: {cores}, threads: {os.cpu_count()}, of which usable: {usable_cpus()}")


def check_bfloat16(flags: frozenset[str]) -> Check:
    """Return whether the CPU multiplies bfloat16 in hardware, from the flags in `/proc/cpuinfo`.

    Without it, bfloat16 on the CPU is emulated and slower than float32.
    """
    units = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512", "bf16": "Arm"}
    found = [unit for flag, unit in units.items() if flag in flags]
    if found:
        return Check("cpu bfloat16", True, f"in hardware ({', '.join(found)})")
    return Check("cpu bfloat16", None, "not in hardware: float32 is faster here")


def check_kernels(there: bool) -> Check:
    """Return whether training on the CPU has its fused blocks; without them it takes several times as long."""
    if there:
        return Check("cpu kernels", True, "compiled")
    return Check(
        "cpu kernels",
        None,
        "not to be had, so training on the CPU is slow: a C++ compiler (g++ or clang++) is needed, and a cache folder "
        "that can be written (WINNOW_CACHE)",
    )


def _has_kernels() -> bool:
    try:
        from dp_core.kernels import block_library
    except ImportError:  # told by the check of the versions
        return False
    return block_library() is not None


def check_gpus() -> list[Check]:
    """Return a line for each GPU that PyTorch sees, or one that says why there is none."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        reason = f" ({caught[0].message})" if caught else ""
        return [
            Check("gpu", None, f"none that PyTorch {torch.__version__} can use; everything runs on the CPU{reason}")
        ]
    return [_gpu(index) for index in range(torch.cuda.device_count())]


def check_memory(free: int) -> Check:
    """Return whether `free` bytes of memory are enough for a small search."""
    enough = free >= LEAST_MEMORY_BYTES
    advice = "" if enough else f"; a search needs about {LEAST_MEMORY_BYTES / GIB:.0f} GiB"
    return Check("memory", enough, f"{free / GIB:.1f} GiB free{advice}")


def check_shared_memory(folder: Path, free: int) -> Check:
    """Return whether `folder`, which Ray's object store lives in, has room for its default share of `free` bytes."""
    if not folder.exists():
        return Check("shared memory", None, f"no {folder} on this system; Ray uses files instead")
    room = shutil.disk_usage(folder).free
    wanted = int(free * OBJECT_STORE_SHARE)
    if room >= wanted:
        return Check("shared memory", True, f"{room / GIB:.1f} GiB free in {folder}")
    advice = f"Ray would take {wanted / GIB:.1f} GiB and will use slower files; in Docker pass --shm-size"
    return Check("shared memory", None, f"{room / GIB:.1f} GiB free in {folder}: {advice}")


def check_writing(runs: Path) -> Check:
    """Return whether runs can be written, by writing a nameless file where `runs` is or would be made."""
    folder = _nearest_existing(runs)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check("run directory", False, f"{runs} cannot be written: {error.strerror}")
    return Check("run directory", True, f"{runs} can be written")


def check_disk(runs: Path) -> Check:
    """Return whether the disk under `runs` has room for a search."""
    free = shutil.disk_usage(_nearest_existing(runs)).free
    enough = free >= LEAST_DISK_BYTES
    advice = "" if enough else f"; a search needs about {LEAST_DISK_BYTES / GIB:.0f} GiB"
    return Check("disk", enough, f"{free / GIB:.1f} GiB free under {runs}{advice}")


def check_data(name: str, path: Path) -> Check:
    """Return whether the data set is there; of Parquet files the footers are read and the rows counted."""
    import pyarrow.parquet as parquet

    label = f"data {name}"
    if not path.exists():
        return Check(label, False, f"{path} is not there")
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    rows = 0
    for file in (file for file in files if file.suffix == ".parquet"):
        try:
            rows += parquet.read_metadata(file).num_rows
        except (OSError, ValueError) as error:
            return Check(label, False, f"{file} cannot be read: {str(error).splitlines()[0]}")
    return Check(label, True, f"{path}: {rows:,} rows of Parquet" if rows else f"{path} is there")


def check_ray() -> Check:
    """Start Ray on this machine, run one task and stop it again; takes several seconds.

    Must not be called while the process is connected to a Ray cluster, which it would disconnect.
    """
    started = time.perf_counter()
    try:
        with ray_session(address=None, cpus=1):
            import ray  # only now: the session sets what Ray reads when it is imported

            def process() -> int:
                return os.getpid()

            worker = ray.get(ray.remote(process).remote(), timeout=60)
    except Exception as error:  # whatever goes wrong in there is what the user asked about
        return Check("ray", False, f"does not run here: {str(error).strip().splitlines()[0]}")
    seconds = time.perf_counter() - started
    return Check("ray", worker != os.getpid(), f"{ray.__version__} started, ran a task and stopped in {seconds:.1f} s")


def _gpu(index: int) -> Check:
    import torch

    device = torch.cuda.get_device_properties(index)
    memory, capability = device.total_memory / GIB, f"{device.major}.{device.minor}"
    precision = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
    detail = f"{device.name}, {memory:.0f} GiB, capability {capability}, {precision}, CUDA {torch.version.cuda}"
    return Check(f"gpu {index}", True, detail)


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def _cpu_flags() -> frozenset[str]:
    return frozenset((_cpu_field("flags") or _cpu_field("Features")).split())


def _cpu_field(name: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
