"""The proxy evaluations that come with the project, and the numbers that their comments claim."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dp_core.models import SPACES
from search.config.loader import load_config, schema_of
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.preparation import ProxyPreparation, prepare_proxies

PROJECT = Path(__file__).parents[3]
CONFIGS = sorted((PROJECT / "configs" / "proxy").glob("*.yaml"))
IMAGES = ["data.root=assets/cifar10-mini", "data.validation=0.2"]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


def prepared(name: str, folder: Path, *overrides: str) -> ProxyPreparation:
    given = [*IMAGES, f"data.cache={folder}", "resources.concurrency=1", *overrides]
    config = load_config(ProxyEvaluationConfig, Path(f"configs/proxy/{name}.yaml"), given)
    return prepare_proxies(config, f"{name}.yaml", local=False)


def table(folder: Path, rows: int = 80) -> str:
    names = [spec.hyperparameters["architecture"] for spec in SPACES["nasbench201"]()[:: 15625 // rows][:rows]]
    accuracies = [0.5 + number / 1000 for number in range(rows)]
    pq.write_table(pa.table({"arch_str": names, "accuracy": accuracies}), folder / "truth.parquet")
    return f"truth.table={folder / 'truth.parquet'}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_fits_its_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), schema_of(ProxyEvaluationConfig))


def test_the_mini_one_has_twelve_small_networks(tmp_path: Path) -> None:
    found = prepared("mini", tmp_path)
    assert len(found.architectures) == 12
    assert max(architecture.parameters for architecture in found.architectures) < 100_000


def test_of_the_720_convnets_75_are_too_dear_and_60_are_drawn(tmp_path: Path) -> None:
    found = prepared("convnet720", tmp_path)
    assert len(found.architectures) == 60
    for key, each in (("depth", 15), ("width", 15), ("activation", 20), ("pooling", 20), ("norm", 12)):
        values = [architecture.spec.hyperparameters[key] for architecture in found.architectures]
        assert {values.count(value) for value in values} == {each}, key
    everything = prepared("convnet720", tmp_path, "space.architectures=null", "validation_images=100")
    assert len(everything.architectures) == 720 - 75
    assert max(architecture.flops for architecture in everything.architectures) <= 5e8
    left_out = {spec.label() for spec in SPACES["convnet720"]()} - {found.label for found in everything.architectures}
    assert all(label.endswith("none") and ("width=256" in label or "width=128" in label) for label in left_out)


def test_nasbench201_is_what_the_table_has(tmp_path: Path) -> None:
    small = prepared("nasbench201", tmp_path, table(tmp_path))
    assert len(small.architectures) == 60
    assert {(c.spec.hyperparameters["width"], c.spec.hyperparameters["cells"]) for c in small.architectures} == {(8, 1)}
    zero_cost = prepared("nasbench201_zero_cost", tmp_path, table(tmp_path))
    assert len(zero_cost.architectures) == 80
    assert not [proxy for proxy in zero_cost.proxies.values() if hasattr(proxy, "steps")]  # nothing trains
