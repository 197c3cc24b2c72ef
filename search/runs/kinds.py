"""The kinds of runs: what a run directory is of, and the config that each is started with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from dp_core.errors import UserError, nearest
from search.comparison.config import StudyConfig
from search.config.models import SearchConfig
from search.distillation.config import DistillConfig
from search.proxies.config import ProxyEvaluationConfig

RunConfig: TypeAlias = SearchConfig | StudyConfig | DistillConfig | ProxyEvaluationConfig

SEARCH, STUDY, DISTILLATION, PROXIES = "search", "study", "distillation", "proxy-evaluation"

_CONFIGS: Mapping[str, type[RunConfig]] = MappingProxyType(
    {SEARCH: SearchConfig, STUDY: StudyConfig, DISTILLATION: DistillConfig, PROXIES: ProxyEvaluationConfig}
)
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        SEARCH: "a search",
        STUDY: "a study of pruning methods",
        DISTILLATION: "a distillation",
        PROXIES: "a proxy evaluation",
    }
)


def kind_for(model: type[RunConfig]) -> str:
    """Return the kind of the runs that are started with such a config."""
    return next(kind for kind, config in _CONFIGS.items() if issubclass(model, config))


def kind_of(recorded: Mapping[str, Any]) -> str:
    """Return the kind of a run by its run.yaml: `search`, `study`, `distillation` or `proxy-evaluation`.

    Raises:
        UserError: it is none of them, such as one of a later version of Winnow.
    """
    kind = str(recorded.get("kind", SEARCH))  # run.yaml from before there were others does not say it
    if kind not in _CONFIGS:
        raise UserError(f"There is no kind of run '{kind}'.{nearest(kind, _CONFIGS)} Known: {', '.join(_CONFIGS)}.")
    return kind


def described(kind: str) -> str:
    """Return `kind` as a sentence says it."""
    return _WORDS[kind]
