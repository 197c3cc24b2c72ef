"""Compiling block.cpp for this machine's CPU, once, and loading it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("block.cpp")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC")
_SECONDS = 120  # far more than the five or so that compiling takes


@functools.cache
def block_library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had (no compiler, another system than Linux).

    The library is compiled on first use, in a few seconds, into the user's cache folder, under a name that follows
    from source, flags, compiler and CPU; processes may do so at the same time. `WINNOW_KERNELS=0` turns it off.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if os.environ.get("WINNOW_KERNELS") == "0" or compiler is None or platform.system() != "Linux":
        return None
    try:
        path = cache_folder() / f"block-{_key(compiler)}.so"
        if not path.exists():
            _compile(compiler, path)
        library = ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None
    library.winnow_call_size.restype = ctypes.c_int64
    return library


def cache_folder() -> Path:
    """Return the folder of everything that is compiled on this machine: `WINNOW_CACHE`, or the user's cache."""
    home = os.environ.get("WINNOW_CACHE") or os.environ.get("XDG_CACHE_HOME")
    base = Path(home) if home else Path.home() / ".cache"
    return base / "winnow" / "kernels"


def _key(compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=_SECONDS, check=True).stdout
    facts = [_SOURCE.read_bytes(), " ".join(_FLAGS).encode(), version, _cpu().encode()]
    return hashlib.sha256(b"\0".join(facts)).hexdigest()[:16]


def _cpu() -> str:
    """What `-march=native` depends on: machines that share a home folder may differ in it."""
    wanted = ("model name", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _compile(compiler: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        # Compiled for OpenMP but not linked with it: the functions are found in the runtime that torch has loaded, so
        # that there is one pool of threads and not two that fight over the cores.
        command = [compiler, *_FLAGS, "-fopenmp", "-c", str(_SOURCE), "-o", f"{made}.o"]
        subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
        link = [compiler, "-shared", f"{made}.o", "-o", str(made)]
        subprocess.run(link, capture_output=True, timeout=_SECONDS, check=True)
        ctypes.CDLL(str(made))  # a library that does not load must not get its name
        os.replace(made, path)
