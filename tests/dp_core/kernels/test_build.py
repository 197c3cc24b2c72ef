from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy.random._common  # an extension module that is none of ours
import pytest
import torch

from dp_core.kernels import build, cache_folder
from dp_core.training import Recipe, Training
from tests.dp_core.small import random_data, small_model

REPOSITORY = Path(__file__).parents[3]

LIBRARY = """
extern "C" void winnow_block_forward(const void*) {}
extern "C" void winnow_block_backward(const void*) {}
extern "C" long long winnow_call_size() { return 42; }
"""
# As if it had been compiled for an OpenMP that is not there.
UNRESOLVED = LIBRARY.replace("(const void*) {}", "(const void*) { winnow_no_such_function(); }")
UNRESOLVED = 'extern "C" void winnow_no_such_function();' + UNRESOLVED

# A compiler that takes no time: called with `--version` it has one, and else it does BODY with the output as $out.
COMPILER = """#!/bin/sh
echo "$@" >> {folder}/calls
case "$*" in *--version*) echo "fake 1.0"; exit;; esac
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
{body}
"""

Install = Callable[[str], Path]


def load() -> ctypes.CDLL | None:
    """Return what `block_library` returns in a new process."""
    return build.block_library.__wrapped__()


@pytest.fixture(scope="session")
def libraries(kernels: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `good.so`, a tiny library of the right functions, and `unresolved.so`."""
    folder = tmp_path_factory.mktemp("libraries")
    compiler = shlex.split(os.environ.get("CXX") or shutil.which("g++") or "clang++")
    for name, source in (("good", LIBRARY), ("unresolved", UNRESOLVED)):
        (folder / f"{name}.cpp").write_text(source)
        files = [str(folder / f"{name}.cpp"), "-o", str(folder / f"{name}.so")]
        subprocess.run([*compiler, "-shared", "-fPIC", *files], check=True)
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes a fake compiler the only one, with an empty cache folder."""

    def installed(body: str) -> Path:
        path = tmp_path / "compiler"
        path.write_text(COMPILER.format(folder=tmp_path, body=body))
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))
        return path

    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WINNOW_KERNELS", raising=False)
    return installed


def calls(folder: Path) -> list[str]:
    log = folder / "calls"
    return log.read_text().splitlines() if log.exists() else []


def test_the_library_is_compiled_once_and_then_found(install: Install, libraries: Path, tmp_path: Path) -> None:
    install(f"cp {libraries / 'good.so'} $out")
    for _ in range(2):
        library = load()
        assert library is not None
        assert library.winnow_call_size() == 42
    version, compiled, linked, again = calls(tmp_path)
    assert version == again == "--version"
    assert "-fopenmp -c" in compiled
    assert "block.cpp" in compiled
    assert linked.startswith("-shared")
    (only,) = cache_folder().iterdir()  # no temporary files
    assert only.suffix == ".so"


def test_a_compiler_may_be_a_command_with_arguments(
    install: Install, libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install(f"cp {libraries / 'good.so'} $out")
    monkeypatch.setenv("CXX", f"{path} --fast")
    assert load() is not None
    assert all(call.startswith("--fast ") for call in calls(tmp_path))


def test_without_a_compiler_there_is_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    for name in (str(tmp_path / "nowhere"), str(tmp_path), "a 'quote that does not end", " "):
        monkeypatch.setenv("CXX", name)
        assert load() is None
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    assert load() is None


def test_kernels_can_be_turned_off(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("exit 1")
    monkeypatch.setenv("WINNOW_KERNELS", "0")
    assert load() is None
    monkeypatch.delenv("WINNOW_KERNELS")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert load() is None
    assert calls(tmp_path) == []


@pytest.mark.parametrize(
    "body",
    [
        "exit 1",
        "exit 0",
        ": > $out",
        "echo this is no library > $out",
        "head -c 3000 {libraries}/good.so > $out",
        "cp {libraries}/unresolved.so $out",
        "cp {other} $out",
        "kill -9 $$",
        "mkdir $out",
    ],
)
def test_a_broken_compiler_makes_no_library_and_leaves_nothing_behind(
    install: Install, libraries: Path, body: str
) -> None:
    install(body.format(libraries=libraries, other=numpy.random._common.__file__))
    for _ in range(2):
        assert load() is None
        assert list(cache_folder().iterdir()) == []


def test_a_compiler_without_a_version_or_an_end_makes_no_library(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install("exec sleep 60")
    monkeypatch.setattr(build, "_SECONDS", 0.3)
    assert load() is None
    assert list(cache_folder().iterdir()) == []
    path.write_text("#!/bin/sh\nexit 3\n")
    assert load() is None


def test_a_library_that_was_damaged_is_compiled_anew(install: Install, libraries: Path) -> None:
    install(f"cp {libraries / 'good.so'} $out")
    assert load() is not None
    (path,) = cache_folder().iterdir()
    for damage in (b"", b"no library", (libraries / "good.so").read_bytes()[:3000]):
        path.unlink()  # not overwritten: this process has it in its memory
        path.write_bytes(damage)
        assert load() is not None
        assert path.read_bytes() == (libraries / "good.so").read_bytes()


@pytest.mark.parametrize("obstacle", ["a file", "below a file", "read only"])
def test_a_cache_folder_that_cannot_be_written_makes_no_library(
    install: Install, libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    install(f"cp {libraries / 'good.so'} $out")
    place = tmp_path / "place"
    if obstacle == "read only":
        place.mkdir(mode=0o555)
        if os.access(place, os.W_OK):
            pytest.skip("this user may write everywhere")
    else:
        place.touch()
    monkeypatch.setenv("WINNOW_CACHE", str(place / "deeper" if obstacle == "below a file" else place))
    assert load() is None


def test_a_user_without_a_home_has_no_library(
    install: Install, libraries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    install(f"cp {libraries / 'good.so'} $out")
    monkeypatch.delenv("WINNOW_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert load() is None


def test_where_the_cache_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINNOW_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("/at/home"))
    assert cache_folder() == Path("/at/home/.cache/winnow/kernels")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/winnow/kernels")
    monkeypatch.setenv("WINNOW_CACHE", "/mine")
    assert cache_folder() == Path("/mine/winnow/kernels")


def test_source_flags_compiler_and_processor_have_libraries_of_their_own(
    install: Install, libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> set[str]:
        assert load() is not None
        return {path.name for path in cache_folder().iterdir()}

    path = install(f"cp {libraries / 'good.so'} $out")
    assert len(names()) == 1
    source = tmp_path / "block.cpp"
    source.write_bytes(build._SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(build, "_SOURCE", source)
    assert len(names()) == 2
    monkeypatch.setattr(build, "_FLAGS", (*build._FLAGS, "-g"))
    assert len(names()) == 3
    path.write_text(path.read_text().replace("fake 1.0", "fake 1.1"))
    assert len(names()) == 4
    monkeypatch.setattr(build, "cpu_facts", lambda: "another one")
    assert len(names()) == 5
    monkeypatch.setenv("CXX", f"{path} -g")
    assert len(names()) == 6
    assert len(names()) == 6


def test_processes_that_compile_at_the_same_time_do_not_disturb_each_other(
    install: Install, libraries: Path, tmp_path: Path
) -> None:
    install(f"head -c 3000 {libraries / 'good.so'} > $out; sleep 0.3; cp {libraries / 'good.so'} $out")
    # build.py alone, so that the processes do not import torch.
    program = f"import runpy; print(runpy.run_path({build.__file__!r})['block_library']().winnow_call_size())"
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in started] == ["42\n"] * 3
    assert len(list(cache_folder().iterdir())) == 1


TRAIN = """
import sys, torch
from dp_core.training import Recipe, Training
from tests.dp_core.small import random_data, small_model
torch.set_num_threads(1)
model = small_model("instance")
training = Training(model, random_data(), Recipe(steps=8, batch_size=6, precision="float32"), seed=3, mask=None)
assert training.network.mode == "eager"
training.run()
torch.save(model.state_dict(), sys.argv[1])
"""


def test_a_training_without_a_compiler_takes_the_same_steps(kernels: None, tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": "/nonexistent", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "weights.pt")]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=120)
    model = small_model("instance")
    training = Training(model, random_data(), Recipe(steps=8, batch_size=6, precision="float32"), seed=3, mask=None)
    assert training.network.mode == "fused"
    training.run()
    for name, value in torch.load(tmp_path / "weights.pt", weights_only=True).items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-4, atol=1e-6)
