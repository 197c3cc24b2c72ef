"""The pages and schemas in configs/ say what the program does today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf
from pydantic import BaseModel

from scripts import write_config_docs
from search.comparison.config import ComparisonConfig
from search.config.loader import describe_keys, schema_of
from search.config.models import SearchConfig
from search.distillation.config import DistillConfig
from search.proxies.config import ProxyEvaluationConfig

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
EVERY = pytest.mark.parametrize(
    ("model", "folder", "page"),
    [
        (SearchConfig, CONFIGS, write_config_docs.page),
        (ComparisonConfig, CONFIGS / "prune", write_config_docs.comparison_page),
        (DistillConfig, CONFIGS / "distill", write_config_docs.distillation_page),
        (ProxyEvaluationConfig, CONFIGS / "proxy", write_config_docs.evaluation_page),
    ],
)


@EVERY
def test_the_page_is_current(model: type[BaseModel], folder: Path, page: write_config_docs.Page) -> None:
    assert (folder / "README.md").read_text(encoding="utf-8") == page(), "run python scripts/write_config_docs.py"


@EVERY
def test_the_schema_is_current_and_accepts_the_shipped_configs(
    model: type[BaseModel], folder: Path, page: write_config_docs.Page
) -> None:
    schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
    assert schema == schema_of(model), "run python scripts/write_config_docs.py"
    for path in folder.glob("*.yaml"):
        Draft202012Validator(schema).validate(OmegaConf.to_container(OmegaConf.load(path)))


@EVERY
def test_every_key_is_documented(model: type[BaseModel], folder: Path, page: write_config_docs.Page) -> None:
    assert [key.key for key in describe_keys(model) if len(key.description) < 10] == []
