"""The pages of the documentation and what they show: blocks of code, names in code, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("bash", "python", "text")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page in Markdown."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Page:
        return cls(path, path.read_text(encoding="utf-8"))

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return str(self.path.relative_to(ROOT))

    def blocks(self) -> list[tuple[str, str]]:
        """Return the fenced blocks in order, each with its language."""
        return [(language, block) for language, block in _BLOCK.findall(self.text)]

    def commands(self) -> list[str]:
        """Return the lines of the blocks in bash."""
        return [line for language, block in self.blocks() if language == "bash" for line in block.splitlines() if line]

    def spoken_commands(self) -> list[str]:
        """Return what stands between backticks and begins like a command."""
        # `winnow search CONFIG [key=value …]` is how a table says that there may be overrides.
        spans = [span.replace(" [key=value …]", "") for span in self.spans()]
        return [span for span in spans if re.match(r"(\.venv/bin/)?(winnow|make|python) ", span)]

    def spans(self) -> list[str]:
        """Return what stands between backticks outside of blocks, on one line each."""
        return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose())]

    def prose(self) -> str:
        """Return the text without its blocks."""
        return _BLOCK.sub("", self.text)

    def links(self) -> list[str]:
        """Return where its links and images lead within the repository."""
        return [target for target in re.findall(r"\]\(([^)\s]+)\)", self.prose()) if "://" not in target]

    def anchors(self) -> set[str]:
        """Return the names of its headings that links lead to."""
        headings = re.findall(r"^#+ (.+)$", self.prose(), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _read(*patterns: str) -> Iterator[Page]:
    for pattern in patterns:
        yield from (Page.read(path) for path in sorted(ROOT.glob(pattern)))


# The pages that are written by hand for readers, and those that stand beside what they describe.
HOUSE = tuple(_read("*.md", "docs/*.md"))
EVERY = (*HOUSE, *_read("configs/**/*.md", "benchmarks/**/*.md", "assets/**/*.md"))

of_the_house = pytest.mark.parametrize("page", HOUSE, ids=lambda page: page.name)
of_every_page = pytest.mark.parametrize("page", EVERY, ids=lambda page: page.name)
