"""The command line, run inside the test's own process: importing torch and Ray takes seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from search.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command left on its standard output and error, and its exit status."""

    status: int
    out: str
    err: str


@pytest.fixture
def winnow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Return a function that runs `winnow` with its arguments in the current folder."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["winnow", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        found = capsys.readouterr()
        return Outcome(status, found.out, found.err)

    return run
