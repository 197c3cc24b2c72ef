"""What each of the house's papers has to have: the README, the changelog, how to cite, how to report."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.docs.pages import HOUSE, ROOT, Page, of_the_house

README = Page.read(ROOT / "README.md")
MOST_WORDS = 1200
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Of the schema of Citation File Format 1.2.0: what must be there, and the types of works used here.
REQUIRED = ("cff-version", "message", "title", "authors")
REQUIRED_OF_A_REFERENCE = ("type", "title", "authors")
WORKS = ("article", "conference-paper", "software")


def words(text: str) -> int:
    return len(text.split())


def test_the_readme_is_short() -> None:
    assert words("one `two` | three |\n|---|---|") == 6, "whatever stands between spaces is a word"
    assert words(README.text) <= MOST_WORDS


def test_every_page_of_docs_is_linked_from_the_readme_and_the_index() -> None:
    pages = {page.path.name for page in HOUSE if page.path.parent == ROOT / "docs"} - {"README.md"}
    assert len(pages) >= 9
    assert {f"docs/{name}" for name in pages} <= set(README.links())
    assert pages <= set(Page.read(ROOT / "docs/README.md").links())


def test_things_are_registered_where_the_readme_says() -> None:
    rows = re.findall(r"\| `(\w+)` in `([\w/]+\.py)` \|", README.text)
    assert len(rows) == 10
    for name, path in rows:
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), f"{name} in {path}"


@of_the_house
def test_nothing_is_left_to_fill_in(page: Page) -> None:
    assert re.findall(r"@@|\bTODO\b|\bTBD\b|\bFIXME\b", page.text) == []


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def lacking(citation: dict[str, Any]) -> list[str]:
    """Return what a citation file needs and has not."""
    found = [key for key in REQUIRED if not citation.get(key)]
    for reference in citation.get("references", []):
        found += [f"references.{key}" for key in REQUIRED_OF_A_REFERENCE if not reference.get(key)]
        found += ["references.type"] if reference.get("type") not in WORKS else []
    authors = [work.get("authors") or [] for work in (citation, *citation.get("references", []))]
    # A person has names, an entity such as a project has one.
    unnamed = [author for each in authors for author in each if not {"family-names", "name"} & author.keys()]
    return found + ["authors.name" for _ in unnamed]


def test_the_citation_has_what_its_schema_requires_and_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert lacking(citation) == []
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert any("2307.03364" in reference["url"] for reference in citation["references"])


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"title": ""}, ["title"]),
        ({"authors": [{"given-names": "A"}]}, ["authors.name"]),
        ({"references": [{"type": "paper", "title": "A", "authors": [{"name": "B"}]}]}, ["references.type"]),
        ({"references": [{"type": "article", "title": "A"}]}, ["references.authors"]),
    ],
)
def test_what_a_citation_lacks_is_found(changed: dict[str, Any], found: list[str]) -> None:
    whole = {"cff-version": "1.2.0", "message": "m", "title": "t", "authors": [{"name": "n"}]}
    assert lacking(whole) == []
    assert lacking({**whole, **changed}) == found


def test_security_names_no_host() -> None:
    assert "://" not in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
