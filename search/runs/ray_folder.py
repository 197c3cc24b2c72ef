"""Where a Ray of this machine keeps its sockets and logs: a folder with a short path, and with room."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dp_core.errors import UserError

# The kernel takes paths of sockets of 107 bytes (macOS: 103), of which Ray's own part, such as
# /session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.1, has up to 66.
_LONGEST_PATH = 103 - 66
# Of logs and sockets of a session; what does not fit in memory comes on top.
_LEAST_BYTES = 50 * 2**20
_ELSEWHERE = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


@contextmanager
def ray_folder(elsewhere: Sequence[Path] = _ELSEWHERE) -> Iterator[Path]:
    """Yield the folder for Ray's sessions: `ray` in RAY_TMPDIR, TMPDIR or /tmp, as by Ray's own choice, if it will do.

    Otherwise it is a new folder in the first of `elsewhere` that will, which is removed in the end.

    Raises:
        UserError: none will do; it says why, and what to set.
    """
    chosen = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp").absolute()
    troubles = {chosen: _trouble(chosen, "ray")}
    if troubles[chosen] is None:
        yield chosen / "ray"
        return
    for place in elsewhere:
        troubles[place] = _trouble(place, "winnow-ray-12345678")
        if troubles[place] is None:
            with tempfile.TemporaryDirectory(prefix="winnow-ray-", dir=place, ignore_cleanup_errors=True) as folder:
                yield Path(folder)
            return
    found = "; ".join(f"{place} {trouble}" for place, trouble in troubles.items())
    raise UserError(f"Ray has no folder for its sockets and logs: {found}. Set TMPDIR to another one.")


def _trouble(place: Path, name: str) -> str | None:
    """Return why Ray cannot have a folder `name` in `place`, None if it can."""
    length = len(os.fsencode(place / name))
    if length > _LONGEST_PATH:
        return f"has a path that is {length - _LONGEST_PATH} bytes too long for sockets"
    if not place.is_dir():
        return "is not a folder" if place.exists() else "does not exist"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"Ray")
            file.flush()
        free = shutil.disk_usage(place).free
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return None if free >= _LEAST_BYTES else f"has {free / 2**20:.0f} MiB left"
