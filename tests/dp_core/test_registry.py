"""Names without imports, and what is behind them once it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from dp_core.data import FORMATS
from dp_core.data.registry import AUGMENTATIONS
from dp_core.distillation import DISTILLERS
from dp_core.models import ARCHITECTURES
from dp_core.proxies import PROXIES
from dp_core.pruning import CRITERIA
from dp_core.registry import Registry

ABSENT = "tests.dp_core.nowhere:nothing"


def test_names_are_known_without_an_import() -> None:
    found: Registry[Any] = Registry({"b": ABSENT, "a": ABSENT})
    assert list(found) == ["b", "a"]
    assert (len(found), "a" in found, "c" in found) == (2, True, False)
    with pytest.raises(ModuleNotFoundError):
        found["a"]


def test_what_is_there_is_imported_when_it_is_looked_up() -> None:
    sys.modules.pop("colorsys", None)
    found: Registry[Any] = Registry({"hue": "colorsys:rgb_to_hsv", "other": ABSENT})
    assert "colorsys" not in sys.modules
    assert found["hue"](1.0, 0.0, 0.0) == (0.0, 1.0, 1.0)
    assert "colorsys" in sys.modules


def test_an_entry_is_made_once() -> None:
    found = Registry({"zero": "fractions:Fraction"}, made=lambda kind: kind())
    assert found["zero"] == Fraction(0)
    assert found["zero"] is found["zero"]
    assert dict(found) == {"zero": Fraction(0)}


def test_a_name_that_there_is_not_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        Registry({})["nothing"]


@pytest.mark.parametrize("registry", [ARCHITECTURES, AUGMENTATIONS, CRITERIA, DISTILLERS, FORMATS, PROXIES])
def test_whatever_is_registered_is_there(registry: Mapping[str, Any]) -> None:
    assert all(callable(entry) for entry in registry.values())
    assert len(set(map(id, registry.values()))) == len(registry)
