"""A key in the wrong section: the mistake says where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.errors import UserError
from search.comparison.config import ComparisonConfig
from search.config.loader import load_config
from search.config.models import SearchConfig
from search.config.sections import RunConfig
from search.distillation.config import DistillConfig
from search.proxies.config import ProxyEvaluationConfig

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize(
    ("model", "path", "override", "told"),
    [
        (SearchConfig, "quickstart.yaml", "screen.steps=30", "There is a key 'space.recipe.steps'."),
        (SearchConfig, "quickstart.yaml", "search.sparsity=0.9", "There is a key 'space.sparsity'."),
        (SearchConfig, "quickstart.yaml", "concurrency=3", "There is a key 'resources.concurrency'."),
        (
            SearchConfig,
            "quickstart.yaml",
            "retrain.learning_rate=1",
            "There is a key 'retrain.recipe.learning_rate' and 'space.recipe.learning_rate'.",
        ),
        (
            ComparisonConfig,
            "prune/mini.yaml",
            "methods.imp_init.batch_size=3",
            "There is a key 'methods.imp_init.recipe.batch_size' and 'retrain.recipe.batch_size'.",
        ),
        (ProxyEvaluationConfig, "proxy/mini.yaml", "truth.momentum=0", "There is a key 'truth.recipe.momentum'."),
        (DistillConfig, "distill/mini.yaml", "distill.real_images=3", "chosen here stand in 'distill.settings'."),
        (DistillConfig, "distill/mini.yaml", "distill.iterations=3", "chosen here stand in 'distill.settings'."),
    ],
)
def test_a_key_in_the_wrong_place_is_pointed_to_the_right_one(
    model: type[RunConfig], path: str, override: str, told: str
) -> None:
    with pytest.raises(UserError, match="unknown key") as refused:
        load_config(model, CONFIGS / path, [override])
    assert str(refused.value).endswith(told)
