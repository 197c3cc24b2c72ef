"""What is noted of a distiller says of its sets what the distiller itself would."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.distillation import DISTILLERS
from search.distillation.plan import DistillPlan, WantedSets
from search.runs.directory import RunDirectory
from search.runs.wanted import note_wanted, noted_wanted
from tests.search.distillation.tiny_distillation import distill_config


@pytest.mark.parametrize("name", DISTILLERS)
def test_a_note_is_as_good_as_the_distiller(tmp_path: Path, name: str) -> None:
    distiller, run = DISTILLERS[name](), RunDirectory(tmp_path)
    wanted = WantedSets.of(distiller)
    note_wanted(run, wanted)
    noted = noted_wanted(run, WantedSets)
    assert noted is not None
    assert noted.settings["method"] == name
    assert noted.settings.get("iterations") == getattr(distiller, "iterations", None)
    assert noted.step_sizes == tuple(getattr(distiller, "step_sizes", ()))
    config = distill_config(tmp_path)
    identities = {DistillPlan(config, tmp_path, each, "digest").identity for each in (wanted, noted)}
    assert len(identities) == 1, "a tuple of a setting is the list that JSON gives back"
