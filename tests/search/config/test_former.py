"""Configs of an earlier version: keys under their former names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dp_core.errors import UserError
from search.config.loader import load_config, recorded_config
from search.config.models import SearchConfig
from tests.search.tiny import config_tree


def written(folder: Path, **changes: Any) -> Path:
    tree = config_tree(folder)
    for section, values in changes.items():
        tree[section] = {**tree.get(section, {}), **values}
    path = folder / "old.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_former_name_is_taken_with_a_line_of_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, search={"cpus_per_trial": 3, "max_failures": 7})
    found = load_config(SearchConfig, path)
    assert (found.resources.cpus_per_job, found.resources.max_failures, found.resources.concurrency) == (3, 7, 1)
    [line] = capsys.readouterr().err.splitlines()
    assert (
        "'search.cpus_per_trial' is 'resources.cpus_per_job', 'search.max_failures' is 'resources.max_failures'" in line
    )


def test_names_of_today_need_no_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_config(SearchConfig, written(tmp_path))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("key", ["search.concurrency", "resources.concurrency"])
def test_an_override_wins_under_either_name(tmp_path: Path, key: str) -> None:
    tree = config_tree(tmp_path)
    del tree["resources"]
    tree["search"]["concurrency"] = 4
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump(tree))
    assert load_config(SearchConfig, path, [f"{key}=9"]).resources.concurrency == 9


def test_a_key_under_both_names_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, search={"concurrency": 4})
    with pytest.raises(UserError, match=r"old\.yaml: 'search\.concurrency' is the former name of 'resources\.conc"):
        load_config(SearchConfig, path)


def test_a_list_of_sets_becomes_a_mapping(tmp_path: Path) -> None:
    path = written(tmp_path, distill={"sets": ["made/a-2ipc.safetensors", "made/b-10ipc.safetensors"]})
    expected = {"a-2ipc": Path("made/a-2ipc.safetensors"), "b-10ipc": Path("made/b-10ipc.safetensors")}
    assert load_config(SearchConfig, path).sets == expected
    assert load_config(SearchConfig, written(tmp_path), ["distill.sets=[x/c.safetensors]"]).sets == {
        "c": Path("x/c.safetensors")
    }


def test_sets_get_plain_names_of_their_own(tmp_path: Path) -> None:
    paths = ["one/a.safetensors", "two/a.safetensors", "my set.safetensors", "..safetensors", "three/a.safetensors"]
    found = load_config(SearchConfig, written(tmp_path, distill={"sets": paths})).sets
    assert list(found) == ["a", "a-again1", "my-set", "set", "a-again2"]
    assert list(found.values()) == [Path(path) for path in paths]


def test_a_section_that_an_override_replaces_may_have_former_names(tmp_path: Path) -> None:
    tree = config_tree(tmp_path)
    del tree["resources"]
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump(tree))
    found = load_config(SearchConfig, path, ["search={trials: 3, concurrency: 4}"])
    assert (found.search.trials, found.resources.concurrency) == (3, 4)


def test_text_is_no_number_in_a_record_either(tmp_path: Path) -> None:
    tree = config_tree(tmp_path)
    tree["resources"]["cpus_per_job"] = "2"
    with pytest.raises(UserError, match=r"run\.yaml: 'resources\.cpus_per_job' must be an integer ≥ 1, not '2'"):
        recorded_config(SearchConfig, tree, Path("run.yaml"))


def test_a_wrong_value_is_named_by_the_name_of_today(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'resources\.cpus_per_job' must be an integer ≥ 1, not 0"):
        load_config(SearchConfig, written(tmp_path, search={"cpus_per_trial": 0}))


def test_a_record_of_an_earlier_version_is_read_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = config_tree(tmp_path)
    del tree["resources"]
    tree["search"] |= {"concurrency": 5, "gpus_per_trial": 0.5}
    found = recorded_config(SearchConfig, tree, Path("run.yaml"))
    assert (found.resources.concurrency, found.resources.gpus_per_job) == (5, 0.5)
    assert tree["search"]["concurrency"] == 5, "what was given stays as it is"
    assert capsys.readouterr().err == ""
