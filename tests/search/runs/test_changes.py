"""Configs that are changed before a run is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dp_core.errors import UserError
from search.runs.changes import agree, refuse_changes
from search.runs.directory import RunDirectory
from search.runs.record import dumped
from tests.search.tiny import config_of

Tree = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    agree(run, tree(tmp_path))
    return run


def tree(folder: Path, **changes: Any) -> Tree:
    return dumped(config_of(folder, **changes))


def test_an_unchanged_config_goes_on(run: RunDirectory, tmp_path: Path) -> None:
    refuse_changes(run, tree(tmp_path), accepted=False)


def test_a_change_is_shown_and_refused_unless_it_is_accepted(run: RunDirectory, tmp_path: Path) -> None:
    changed = tree(tmp_path, search={"trials": 9, "concurrency": 2}, promote={"top": 2})
    with pytest.raises(UserError) as refused:
        refuse_changes(run, changed, accepted=False)
    sentence = str(refused.value)
    for change in ("search.trials: 4 → 9", "search.concurrency: 1 → 2", "promote.top: 1 → 2", "--accept-changes"):
        assert change in sentence
    refuse_changes(run, changed, accepted=True)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"space": {"sparsity": {"float": [0.5, 0.9]}}}, "space.sparsity.float"),
        ({"space": {"model": {"width": {"choice": [4, 8]}}}}, "space.model.width"),
        ({"space": {"recipe": {"momentum": 0.5}}}, "space.recipe.momentum"),
        ({"run": {"seed": 1}}, "run.seed"),
        ({"data": {"validation": 0.3}}, "data.validation"),
        ({"screen": {"prune_fraction": 0.4}}, "screen.prune_fraction"),
        ({"search": {"objectives": ["accuracy"]}}, "search.objectives"),
        ({"search": {"score": {"exponent": -0.1}}}, "search.score.exponent"),
        ({"search": {"ladder": {"zero_cost": "nwot"}}}, "search.ladder.zero_cost"),
        ({"search": {"storage": "sqlite:///other.db"}}, "search.storage"),
    ],
)
def test_what_trials_are_made_of_cannot_be_changed_even_if_it_is_meant(
    run: RunDirectory, tmp_path: Path, changes: Tree, key: str
) -> None:
    with pytest.raises(UserError, match="would be other ones") as refused:
        refuse_changes(run, tree(tmp_path, **changes), accepted=True)
    assert f"{key}: " in str(refused.value)
    assert "search.start.runs" in str(refused.value)


@pytest.mark.parametrize("changes", [{"epochs": 6}, {"recipe": {"learning_rate": 1e-3}}, {"seeds": 3}])
def test_retraining_may_be_changed_at_any_time(run: RunDirectory, tmp_path: Path, changes: Tree) -> None:
    run.model("00000-seed0-1epochs-abc123").mkdir(parents=True)
    refuse_changes(run, tree(tmp_path, retrain=changes), accepted=False)


def test_a_recipe_that_trials_are_screened_by_cannot_be_changed(run: RunDirectory, tmp_path: Path) -> None:
    agree(run, tree(tmp_path, search={"ladder": {"real_epochs": 2}}))
    longer = tree(tmp_path, search={"ladder": {"real_epochs": 2}}, retrain={"epochs": 6})
    refuse_changes(run, longer, accepted=False)
    other = tree(tmp_path, search={"ladder": {"real_epochs": 2}}, retrain={"recipe": {"learning_rate": 1e-3}})
    with pytest.raises(UserError, match=r"retrain\.recipe\.learning_rate: 0\.05 → 0\.001"):
        refuse_changes(run, other, accepted=True)


def test_a_key_that_the_run_was_started_without_knowing_is_no_change(run: RunDirectory, tmp_path: Path) -> None:
    older = tree(tmp_path)
    del older["search"]["ladder"], older["promote"]["audit"]
    agree(run, older)
    refuse_changes(run, tree(tmp_path), accepted=False)


@pytest.mark.parametrize("content", [None, "", "{", "[1]"])
def test_a_run_without_a_readable_agreement_goes_on_as_it_says(
    run: RunDirectory, tmp_path: Path, content: str | None
) -> None:
    run.agreed.unlink() if content is None else run.agreed.write_text(content)
    refuse_changes(run, tree(tmp_path, search={"trials": 9}), accepted=False)
