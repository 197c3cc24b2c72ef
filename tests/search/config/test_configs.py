"""The configs that come with the project, and what is said about their keys."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from dp_core.pruning import sparsity_schedule
from search.config.loader import describe_keys, load_config, schema_of
from search.config.models import SearchConfig
from search.pipeline.preparation import prepare
from search.space import Space
from trainables import Candidate

PROJECT = Path(__file__).parents[3]
CONFIGS = sorted((PROJECT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_config_is_valid_by_its_model_and_by_its_schema(path: Path) -> None:
    config = load_config(SearchConfig, path)
    assert config.run.name == path.stem
    jsonschema.validate(yaml.safe_load(path.read_text()), schema_of(SearchConfig))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_corner_of_a_space_is_a_candidate_that_can_be_built(path: Path) -> None:
    config = load_config(SearchConfig, path)
    seen = set()
    for corner in Space.parse(config.space).corners():
        candidate = Candidate.parse(corner, classes=10)
        seen.add(candidate.source)
        assert candidate.recipe.total_steps(4500) > config.screen.rewind_step
        assert 3 <= len(sparsity_schedule(candidate.sparsity, config.screen.prune_fraction)) <= 12
    assert seen == ({"distilled"} if path.name == "pareto.yaml" else {"distilled", "subset", "real"})


def test_the_quickstart_passes_every_check_on_the_images_that_come_with_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    config = load_config(SearchConfig, Path("configs/quickstart.yaml"), [f"data.cache={tmp_path}"])
    found = prepare(config, "quickstart.yaml", local=False)
    assert [len(part) for part in (found.splits.train, found.splits.validation, found.splits.test)] == [4500, 500, 1000]
    assert found.splits.train.image_shape == (3, 32, 32)
    assert config.promote.top >= len(found.sources)  # so that the leaderboard compares them all


def test_every_key_is_explained() -> None:
    rows = describe_keys(SearchConfig)
    assert len(rows) > 40
    assert [row.key for row in rows if not row.description.strip()] == []
    for key in ("run.name", "run.directory", "run.seed", "data.root"):
        assert key in {row.key for row in rows}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_all_sources_take_as_many_steps_of_as_many_images(path: Path) -> None:
    rounds = set()
    for corner in Space.parse(load_config(SearchConfig, path).space).corners():
        candidate = Candidate.parse(corner, classes=10)
        images = 4500 if candidate.images_per_class is None else 10 * candidate.images_per_class
        rounds.add((candidate.recipe.total_steps(images), candidate.recipe.images_per_step(images)))
    assert len(rounds) == 1
