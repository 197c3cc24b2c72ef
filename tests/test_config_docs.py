"""configs/README.md and configs/schema.json say what the program does today."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator
from omegaconf import OmegaConf

from scripts import write_config_docs
from search.config.loader import describe_keys, schema_of
from search.config.models import SearchConfig

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def test_the_page_is_current() -> None:
    assert (CONFIGS / "README.md").read_text(encoding="utf-8") == write_config_docs.page(), (
        "run python scripts/write_config_docs.py"
    )


def test_the_schema_is_current_and_accepts_the_shipped_configs() -> None:
    schema = json.loads((CONFIGS / "schema.json").read_text(encoding="utf-8"))
    assert schema == schema_of(SearchConfig), "run python scripts/write_config_docs.py"
    for path in CONFIGS.glob("*.yaml"):
        Draft202012Validator(schema).validate(OmegaConf.to_container(OmegaConf.load(path)))


def test_every_key_is_documented() -> None:
    assert [key.key for key in describe_keys(SearchConfig) if len(key.description) < 10] == []
