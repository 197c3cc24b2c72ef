"""Whatever is interrupted and taken up again finds, bit for bit, what it would have found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dp_core.pruning import IterativePruning, Ticket
from tests.dp_core.small import same
from tests.trainables.laboratory.comparisons import (
    BATCH_NORM,
    DENSE,
    NOTHING,
    RETRAINING,
    ROUND,
    contents,
    find,
    laboratory,
    method,
    train,
)
from trainables.laboratory import finding, rounds, training
from trainables.laboratory.context import Laboratory

# Everything that a state has to hold: momentum, a schedule, draws for augmentation, running statistics, a rewind point.
RECIPE = replace(ROUND, optimizer="adamw", steps=3, augmentation="siamese")
METHODS = [
    DENSE,
    method("imp", recipe=RECIPE, rewind_step=1),
    method("combined", recipe=RECIPE, parent="imp", start_sparsity=0.5, sparsities=(0.75, 0.8)),
]
STABILITY = replace(NOTHING, barrier_at=(0.75,), eigenvalue_at=(0.75,))


def comparison(folder: Path) -> Laboratory:
    final = replace(RETRAINING, optimizer="adamw", augmentation="flip_crop")
    return laboratory(folder, METHODS, network=BATCH_NORM, recipe=final, stability=STABILITY)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    lab = comparison(tmp_path_factory.mktemp("uninterrupted"))
    find(lab, "imp")
    find(lab, "combined")
    train(lab, "imp", 0.75)
    return contents(lab.folder)


class Interrupted(Exception):
    """In place of a power cut."""


def interrupting(monkeypatch: pytest.MonkeyPatch, module: ModuleType | type, name: str, call: int, when: str) -> None:
    """Let the `call`-th call of a function, counted from 1, be the last thing that happens, or nearly."""
    original, calls = getattr(module, name), 0

    def interrupted(*arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            raise Interrupted
        result = original(*arguments, **settings)
        if calls == call:
            raise Interrupted
        return result

    monkeypatch.setattr(module, name, interrupted)


def until_interrupted(work: Callable[[], Any]) -> None:
    with pytest.raises(Interrupted):
        work()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("moment", ["save_state 1", "save_state 2", "save_state 3", "save 2", "write_result 1"])
def test_a_search_goes_on_after_any_round(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: dict[str, Any],
    moment: str,
    when: str,
) -> None:
    name, call = moment.split()
    with monkeypatch.context() as patch:
        modules: dict[str, Any] = {"save": Ticket, "save_state": rounds, "write_result": finding}
        interrupting(patch, modules[name], name, int(call), when)
        until_interrupted(lambda: find(comparison(tmp_path), "imp"))
    lab = comparison(tmp_path)
    find(lab, "imp")
    expected = {key: value for key, value in uninterrupted.items() if "/imp" in key and "trainings" not in key}
    assert len(expected) == 4  # three tickets and a result
    assert same(contents(lab.folder), expected)


def test_a_search_does_not_repeat_the_rounds_that_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupting(patch, rounds, "save_state", 2, "after")
        until_interrupted(lambda: find(comparison(tmp_path), "imp"))
    # The state of the second round was written but not yet renamed: the first one's is what there is.
    begun: list[int] = []
    run_round = IterativePruning.run_round

    def counted(self: IterativePruning) -> float:
        begun.append(self.rounds_done)
        return run_round(self)

    monkeypatch.setattr(IterativePruning, "run_round", counted)
    find(comparison(tmp_path), "imp")
    assert begun == [1, 2]


def test_a_combination_goes_on_from_its_own_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, Any]
) -> None:
    find(comparison(tmp_path), "imp")
    with monkeypatch.context() as patch:
        interrupting(patch, rounds, "save_state", 2, "before")
        until_interrupted(lambda: find(comparison(tmp_path), "combined"))
    lab = comparison(tmp_path)
    find(lab, "combined")
    assert same(
        contents(lab.folder), {key: value for key, value in uninterrupted.items() if not key.startswith("trainings")}
    )


@pytest.mark.parametrize("moment", [("save_state", 1), ("save_state", 4), ("save_state", 8), ("write_result", 1)])
@pytest.mark.parametrize("copy", [0, 1])
def test_a_training_goes_on_from_any_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: dict[str, Any],
    moment: tuple[str, int],
    copy: int,
) -> None:
    name, call = moment
    find(comparison(tmp_path), "imp")
    with monkeypatch.context() as patch:
        patch.setattr(training, "_SAVE_EVERY", -1.0)  # after every step: eight for each of the two copies
        interrupting(patch, training, name, call + 8 * copy if name == "save_state" else 1, "before")
        until_interrupted(lambda: train(comparison(tmp_path), "imp", 0.75))
    lab = comparison(tmp_path)
    train(lab, "imp", 0.75)
    found = contents(lab.folder)
    result = "trainings/tiny/seed0/imp/75.json"
    assert same(found[result], uninterrupted[result])


def test_nothing_unfinished_is_left_of_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_SAVE_EVERY", -1.0)
    lab = comparison(tmp_path)
    find(lab, "imp")
    train(lab, "imp", 0.75)
    assert [path for path in (tmp_path / "unfinished").rglob("*") if path.is_file()] == []
