from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.data.preprocessing import Standardisation
from dp_core.distillation.experts import ExpertLibrary, training
from dp_core.errors import UserError
from tests.dp_core.distillation.experts.small_experts import SPACE, contents, small_plan, source
from tests.dp_core.small import random_dataset, same


def test_experts_are_trained_once_and_found_by_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ExpertLibrary(tmp_path / "experts").get(small_plan(), source(), SPACE)
    assert made.folder.name == f"experts-{small_plan().digest(source(), SPACE)[:12]}"
    monkeypatch.setattr(training, "Training", None)  # whatever trains now fails
    found = ExpertLibrary(tmp_path / "experts").get(small_plan(), random_dataset(), Standardisation((0.4,), (0.25,)))
    assert same(contents(found), contents(made))


def test_a_larger_plan_completes_the_buffer(tmp_path: Path) -> None:
    library, done = ExpertLibrary(tmp_path), list[tuple[int, int]]()
    library.get(small_plan(experts=1), source(), SPACE)
    said: list[str] = []
    buffer = library.get(
        small_plan(experts=3),
        source(),
        SPACE,
        progress=lambda count, total, loss: done.append((count, total)),
        say=said.append,
    )
    assert len(buffer) == 3
    assert done == [(count, 6) for count in range(1, 7)]
    assert len(said) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_whatever_makes_experts_different_gives_them_another_place(tmp_path: Path) -> None:
    library = ExpertLibrary(tmp_path)
    paths = {
        library.path(small_plan(), source(), SPACE),
        library.path(small_plan(epochs=4), source(), SPACE),
        library.path(small_plan(), random_dataset(seed=1), SPACE),
        library.path(small_plan(), source(), Standardisation((0.3,), (0.25,))),
    }
    assert len(paths) == 4


def test_a_buffer_with_damage_is_not_replaced(tmp_path: Path) -> None:
    library = ExpertLibrary(tmp_path)
    path = library.get(small_plan(), source(), SPACE).folder / "expert_001" / "trajectory.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"remove .*expert_001 to have this expert trained again"):
        library.get(small_plan(), source(), SPACE)
    assert path.exists()
