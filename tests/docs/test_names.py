"""What the pages name is there: files, links, modules, benchmarks, keys; and what is not would be found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.docs import names
from tests.docs.pages import ROOT, Page, of_every_page, of_the_house

Missing = Callable[[Page], list[str]]


@of_every_page
@pytest.mark.parametrize("missing", [names.missing_links, names.missing_paths, names.missing_benchmarks])
def test_every_file_that_a_page_names_is_there(page: Page, missing: Missing) -> None:
    assert missing(page) == []


@of_the_house
@pytest.mark.parametrize("missing", [names.missing_modules, names.missing_keys, names.missing_settings])
def test_every_name_of_the_program_is_there(page: Page, missing: Missing) -> None:
    assert missing(page) == []


@pytest.mark.parametrize(
    ("missing", "text", "found"),
    [
        (names.missing_links, "[one](configs.md) [two](config.md) [three](https://x.org)", ["config.md"]),
        (names.missing_links, "[one](../README.md#two-commands) [two](#none)", ["#none"]),
        (names.missing_links, "[one](../README.md#three-commands)", ["../README.md#three-commands"]),
        (names.missing_links, "![one](report.png) ![two](reports.png)", ["reports.png"]),
        (names.missing_paths, "`dp_core/data/` `dp_core/date/` `train/<class>/*.png` `runs/x/`", ["dp_core/date/"]),
        (names.missing_paths, "`configs/*.yaml` `configs/*.yml`", ["configs/*.yml"]),
        (names.missing_benchmarks, "`python -m\nbenchmarks.growth` `python -m benchmarks.shrinkage`", ["shrinkage"]),
        (names.missing_modules, "`dp_core.judging.judge` `dp_core.judging.jury`", ["dp_core.judging.jury"]),
        (names.missing_keys, "`search.trials=3` `search.trails=3` `search.py`", ["search.trails", "search.py"]),
        (names.missing_keys, "`space.my.own` `distill.settings.x: 1` `run.seed.x`", ["run.seed.x"]),
        (names.missing_settings, "WINNOW_CACHE, WINNOW_CASH", ["WINNOW_CASH"]),
    ],
)
def test_what_is_not_there_is_found(missing: Missing, text: str, found: list[str]) -> None:
    assert missing(Page(ROOT / "docs/page.md", text)) == found
