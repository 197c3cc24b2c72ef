"""The program itself, killed in the middle: what it ends with is what it would have ended with."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from search.distillation.preparation import prepare_distillation
from tests.search.conftest import Outcome
from tests.search.distillation.tiny_distillation import distill_config, write_distillation
from tests.search.processes import Program

LONG = {"settings": {"iterations": 500}, "checkpoint_every": 20}


def test_a_killed_distillation_ends_with_the_same_set_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, winnow: Callable[..., Outcome]
) -> None:
    write_distillation(tmp_path, distill=LONG)
    run = tmp_path / "runs" / "tiny"
    program = Program("winnow", ["distill", "tiny.yaml"], tmp_path, {"OMP_NUM_THREADS": "1"})
    program.wait_until((run / "images" / "2ipc-00020.png").exists)
    assert program.signal(signal.SIGKILL) == -signal.SIGKILL
    assert not (run / "tiny-2ipc.safetensors").exists()

    monkeypatch.chdir(tmp_path)
    outcome = winnow("resume", "tiny")
    assert outcome.status == 0, outcome.err
    assert "2ipc: goes on from iteration " in outcome.err
    prepared = prepare_distillation(distill_config(tmp_path, distill=LONG), run, "tiny.yaml")
    prepared.distiller.distill(prepared.splits.train, 2, 0).save(tmp_path / "alone.safetensors")
    assert (run / "tiny-2ipc.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
