"""Compiling block.cpp for this machine's CPU, once, and loading it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
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
    named = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if os.environ.get("WINNOW_KERNELS") == "0" or named is None or platform.system() != "Linux":
        return None
    try:
        compiler = shlex.split(named)  # CXX may be `ccache g++`
        path = cache_folder() / f"block-{_key(compiler)}.so"
        try:
            return _loaded(path)
        except (OSError, AttributeError):  # not there yet, or damaged
            _compile(compiler, path)
            return _loaded(path)
    # Of files and processes, of a missing symbol, of a user without a home folder and of a CXX that is no command.
    except (OSError, subprocess.SubprocessError, AttributeError, RuntimeError, ValueError):
        return None


def cache_folder() -> Path:
    """Return the folder of everything that is compiled on this machine: `WINNOW_CACHE`, or the user's cache."""
    home = os.environ.get("WINNOW_CACHE") or os.environ.get("XDG_CACHE_HOME")
    base = Path(home) if home else Path.home() / ".cache"
    return base / "winnow" / "kernels"


def _loaded(path: Path) -> ctypes.CDLL:
    if not _is_whole(path):
        raise OSError(f"{path} is no library or ends too early.")
    library = ctypes.CDLL(str(path))
    library.winnow_block_forward.restype = library.winnow_block_backward.restype = None
    library.winnow_call_size.restype = ctypes.c_int64
    return library


def _is_whole(path: Path) -> bool:
    """Whether the file reaches to the end of its section table, which comes last: loading one cut short is fatal."""
    with path.open("rb") as file:
        header = file.read(64)
    if len(header) < 64 or not header.startswith(b"\x7fELF\x02"):  # an ELF file of 64 bits
        return False
    (table,) = struct.unpack_from("=Q", header, 40)
    size, count = struct.unpack_from("=HH", header, 58)
    return bool(path.stat().st_size >= table + size * count)


def _key(compiler: Sequence[str]) -> str:
    version = subprocess.run([*compiler, "--version"], capture_output=True, timeout=_SECONDS, check=True).stdout
    facts = [_SOURCE.read_bytes(), " ".join([*compiler, *_FLAGS]).encode(), version, cpu_facts().encode()]
    return hashlib.sha256(b"\0".join(facts)).hexdigest()[:16]


def cpu_facts() -> str:
    """Return what `-march=native` depends on: machines that share a home folder may differ in it."""
    wanted = ("model name", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _compile(compiler: Sequence[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        # Compiled for OpenMP but not linked with it: the functions are found in the runtime that torch has loaded, so
        # that there is one pool of threads and not two that fight over the cores.
        command = [*compiler, *_FLAGS, "-fopenmp", "-c", str(_SOURCE), "-o", f"{made}.o"]
        subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
        link = [*compiler, "-shared", f"{made}.o", "-o", str(made)]
        subprocess.run(link, capture_output=True, timeout=_SECONDS, check=True)
        _loaded(made)  # a library that does not load must not get its name
        os.replace(made, path)
