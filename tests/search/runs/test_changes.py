"""Configs that are changed before a run is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dp_core.errors import UserError
from search.comparison.config import ComparisonConfig
from search.config.meaning import ASKED, FIXED, FREE, PLACE, SCORES, Meaning, marked, meaning_of
from search.config.models import SearchConfig
from search.config.sections import RunConfig
from search.distillation.config import DistillConfig
from search.kinds.search import Search
from search.proxies.config import ProxyEvaluationConfig
from search.runs.changes import agree, agreed_config, changes_between, moved, refuse_changes
from search.runs.directory import RunDirectory
from tests.search.tiny import config_of

Tree = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    agree(run, config_of(tmp_path))
    return run


def go_on(where: RunDirectory, folder: Path, /, *, accepted: bool = False, **changes: Any) -> list[str]:
    """Take the run up with these changes of its config; return what was moved."""
    config = config_of(folder, **changes)
    before = agreed_config(where)
    assert before is not None
    found = changes_between(before, config, lambda key: Search().meaning(where, config, key))
    refuse_changes(where, found, accepted, Search().instead(where, config))
    return moved(found)


def test_an_unchanged_config_goes_on(run: RunDirectory, tmp_path: Path) -> None:
    assert go_on(run, tmp_path) == []


def test_a_change_is_shown_and_refused_unless_it_is_accepted(run: RunDirectory, tmp_path: Path) -> None:
    changes: Tree = {"search": {"trials": 9, "startup_trials": 2}, "promote": {"top": 2}}
    with pytest.raises(UserError) as refused:
        go_on(run, tmp_path, **changes)
    sentence = str(refused.value)
    for change in ("search.trials: 4 → 9", "search.startup_trials: 10 → 2", "promote.top: 1 → 2", "--accept-changes"):
        assert change in sentence
    go_on(run, tmp_path, accepted=True, **changes)


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
    with pytest.raises(UserError, match="would be another run") as refused:
        go_on(run, tmp_path, accepted=True, **changes)
    assert f"{key}: " in str(refused.value)
    assert f"search.start.runs=[{run.path}]" in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"retrain": {"epochs": 6}},
        {"retrain": {"recipe": {"learning_rate": 1e-3}}},
        {"retrain": {"seeds": 3}},
        {"resources": {"concurrency": 7, "max_failures": 0}},
    ],
)
def test_retraining_and_resources_may_be_changed_at_any_time(run: RunDirectory, tmp_path: Path, changes: Tree) -> None:
    assert go_on(run, tmp_path, **changes) == []


def test_what_was_moved_is_told_and_needs_no_word(run: RunDirectory, tmp_path: Path) -> None:
    [told] = go_on(run, tmp_path, data={"root": "/elsewhere"})
    assert told.startswith(f"data.root: '{tmp_path}"[:30])
    assert told.endswith(" → '/elsewhere'")


def test_a_recipe_that_trials_are_screened_by_cannot_be_changed(run: RunDirectory, tmp_path: Path) -> None:
    ladder: Tree = {"ladder": {"real_epochs": 2}}
    agree(run, config_of(tmp_path, search=ladder))
    go_on(run, tmp_path, search=ladder, retrain={"epochs": 6})
    with pytest.raises(UserError, match=r"retrain\.recipe\.learning_rate: 0\.05 → 0\.001"):
        go_on(run, tmp_path, accepted=True, search=ladder, retrain={"recipe": {"learning_rate": 1e-3}})


def test_a_key_that_the_run_was_started_without_knowing_is_no_change(tmp_path: Path) -> None:
    older = config_of(tmp_path).in_full()
    del older["search"]["ladder"], older["promote"]["audit"], older["resources"]
    older["search"]["concurrency"] = 5  # its place in an earlier version
    assert changes_between(older, config_of(tmp_path)) == []


def test_a_key_of_the_users_own_is_a_change(tmp_path: Path) -> None:
    before = config_of(tmp_path).in_full()
    del before["space"]["recipe"]["learning_rate"]
    [change] = changes_between(before, config_of(tmp_path))
    assert (change.key, change.before, change.after) == (("space", "recipe", "learning_rate"), None, 0.1)
    assert change.meaning is FIXED


@pytest.mark.parametrize("content", [None, "", "{", "[1]"])
def test_an_agreement_that_cannot_be_read_is_none(run: RunDirectory, content: str | None) -> None:
    run.agreed.unlink() if content is None else run.agreed.write_text(content)
    assert agreed_config(run) is None


@pytest.mark.parametrize(
    ("model", "key", "expected"),
    [
        (SearchConfig, "search.trials", None),
        (SearchConfig, "retrain.recipe.momentum", FREE),
        (SearchConfig, "distill.settings.iterations", FIXED),
        (SearchConfig, "distill.directory", PLACE),
        (SearchConfig, "sets.mine", PLACE),
        (ComparisonConfig, "resources.concurrency", FREE),
        (ComparisonConfig, "published", PLACE),
        (ComparisonConfig, "methods.imp.steps", None),
        (ProxyEvaluationConfig, "truth.table", PLACE),
        (DistillConfig, "distill.experts", PLACE),
        (DistillConfig, "data.validation", FIXED),
    ],
)
def test_what_changing_a_key_means_stands_on_its_field(
    model: type[RunConfig], key: str, expected: Meaning | None
) -> None:
    assert meaning_of(model, key.split(".")).changing is expected


def test_only_a_search_takes_changes_that_no_field_speaks_of() -> None:
    kinds = (SearchConfig, ComparisonConfig, ProxyEvaluationConfig, DistillConfig)
    assert [kind.otherwise for kind in kinds] == [ASKED, FIXED, FIXED, FIXED]


def test_what_scores_depend_on(tmp_path: Path) -> None:
    assert set(dict(marked(config_of(tmp_path), SCORES))) == {
        "screen.prune_fraction",
        "screen.criterion",
        "screen.rewind_step",
        "search.ladder.zero_cost",
        "search.ladder.ipc",
        "search.ladder.real_epochs",
    }


def test_a_set_that_is_added_was_not_moved(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has changed: sets\.mine: null → '/x/mine\.safetensors'"):
        go_on(run, tmp_path, sets={"mine": "/x/mine.safetensors"})
    agree(run, config_of(tmp_path, sets={"mine": "/x/mine.safetensors"}))
    assert len(go_on(run, tmp_path, sets={"mine": "/y/mine.safetensors"})) == 1
