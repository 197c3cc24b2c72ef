from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from dp_core.distillation import FeatureRegression
from dp_core.errors import UserError
from search.config.distillers import DistillSection
from search.config.loader import load_config, schema_of
from search.distillation.config import DistillationSection, DistillConfig
from search.distillation.preparation import prepare_distillation

PROJECT = Path(__file__).parents[3]
CONFIGS = sorted((PROJECT / "configs" / "distill").glob("*.yaml"))
POOL = {"name": "convnet", "depth": {"choice": [1, 2]}, "norm": ["none", "batch", "instance"]}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_config_is_valid_by_its_model_and_by_its_schema(path: Path) -> None:
    config = load_config(DistillConfig, path)
    config.distill.distiller()
    jsonschema.validate(yaml.safe_load(path.read_text()), schema_of(DistillConfig))


def test_the_small_config_passes_every_check_on_the_images_that_come_with_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    config = load_config(DistillConfig, Path("configs/distill/mini.yaml"), [f"data.cache={tmp_path}"])
    found = prepare_distillation(config, tmp_path / "run", "mini.yaml")
    assert [len(part) for part in (found.splits.train, found.splits.validation, found.splits.test)] == [4500, 500, 1000]
    assert found.path(10) == tmp_path / "run" / "distill-mini-10ipc.safetensors"
    assert isinstance(found.distiller, FeatureRegression)
    assert found.distiller.pool.size == 4


@pytest.mark.parametrize("section", [DistillSection, DistillationSection], ids=["of a search", "of a distillation"])
def test_architectures_are_a_setting_of_the_distiller(section: Any) -> None:
    distiller = section(method="feature_regression", settings={"networks": 3}, architectures=POOL).distiller()
    assert (distiller.networks, distiller.pool.size) == (3, 2 * 3)
    two = section(method="feature_regression", architectures=(POOL, {"name": "alexnet", "width": [8, 16]})).distiller()
    assert two.pool.size == 6 + 2
    in_settings = section(method="feature_regression", settings={"architectures": POOL}).distiller()
    assert in_settings.pool == section(method="feature_regression", architectures=POOL).distiller().pool
    assert section(method="feature_regression").distiller() == FeatureRegression()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"method": "random_images", "architectures": POOL}, "architectures' has no meaning for random_images."),
        ({"method": "herding", "architectures": POOL}, "herding: its network is 'distill.settings.model'."),
        ({"settings": {"architectures": POOL}, "architectures": POOL}, "in 'distill' or in 'distill.settings', not in"),
        ({"architectures": {"depth": 1}}, "'distill.architectures': Each of the architectures needs a 'name'"),
        ({"architectures": {"name": "convnet", "norm": []}}, "'distill.architectures': The choice of 'norm'"),
        ({"architectures": ()}, "'distill.architectures': Architectures are a network"),
        ({"settings": {"iteratons": 3}}, "'distill.settings.iteratons'. Did you mean 'iterations'?"),
    ],
)
def test_settings_that_a_distiller_has_not_are_named(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        DistillationSection(**given).distiller()
    assert sentence in str(caught.value)


def test_sizes_are_one_number_or_a_list_of_different_ones() -> None:
    assert DistillationSection(ipc=3).images_per_class == (3,)
    assert DistillationSection(ipc=(10, 1)).images_per_class == (10, 1)
    for wrong in ((), (1, 1), 0, (1, 0)):
        with pytest.raises(ValidationError):
            DistillationSection(ipc=wrong)
