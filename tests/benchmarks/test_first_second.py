"""Processor seconds of a command, and not those that it waits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import first_second
from benchmarks.first_second import processor_seconds
from dp_core.errors import UserError


@pytest.fixture(autouse=True)
def python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the program be Python, which sleeps and computes as it is told."""
    monkeypatch.setattr(first_second, "WINNOW", Path(sys.executable))


def test_what_is_computed_counts_and_what_is_waited_does_not() -> None:
    waiting = processor_seconds(("-c", "import time; time.sleep(0.5)"), 0)
    busy = processor_seconds(("-c", "import time\nwhile time.process_time() < 0.5: pass"), 0)
    assert waiting < 0.4
    assert busy >= 0.5


def test_a_command_that_ends_otherwise_is_no_measurement() -> None:
    assert processor_seconds(("-c", "raise SystemExit(2)"), 2) > 0
    with pytest.raises(UserError, match="ended with 2: so it is"):
        processor_seconds(("-c", "raise SystemExit(print('so it is', file=__import__('sys').stderr) or 2)"), 0)
