"""Methods of two comparisons are set against each other seed by seed."""

from __future__ import annotations

import pytest

from benchmarks.across_runs import joined
from dp_core.errors import UserError
from search.comparison.statistics import paired_differences

OURS, OTHER = "benchmarks/results/tiny-imagenet:distilled", "benchmarks/results/tiny-imagenet-subset:subset"


def test_what_the_docs_say_of_tiny_imagenet_is_what_the_tables_have() -> None:
    found = paired_differences(joined([OURS, OTHER]), OURS, OTHER)
    said = [
        (each.seeds, *(round(100 * (value or 0), 1) for value in (each.mean, each.low, each.high))) for each in found
    ]
    assert said == [(3, 1.5, 0.6, 2.4), (3, 1.8, 0.4, 3.1)]


def test_a_method_without_its_folder_is_refused() -> None:
    with pytest.raises(UserError, match="written folder:method, which distilled is not"):
        joined(["distilled"])
