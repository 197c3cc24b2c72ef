"""Ray and the signals of its driver."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.search.processes import Program

# Told to stop while Ray starts, and by a Ray that has: Ray's own handlers would end it with another status.
DRIVER = """
import signal
import sys
import time
from search.runs import ray_session
signal.signal(signal.SIGTERM, signal.default_int_handler)
begin = ray_session._connect
def connect(*arguments):
    print("starting", flush=True)
    begin(*arguments)
ray_session._connect = connect
try:
    with ray_session.ray_session(None, 1):
        print("started", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    import ray
    print("stopped", "and shut down" if not ray.is_initialized() else "", flush=True)
    sys.exit(130)
"""


@pytest.mark.ray
@pytest.mark.parametrize("moment", ["starting", "started"])
def test_a_driver_handles_its_own_signals(tmp_path: Path, moment: str) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    program = Program(Path(sys.executable).name, ["driver.py"], tmp_path)
    program.wait_until(lambda: moment in program.output)
    assert program.signal(signal.SIGTERM) == 130, program.output
    assert program.output.rstrip().splitlines()[-1] == "stopped and shut down"
    assert program.survivors() == []
