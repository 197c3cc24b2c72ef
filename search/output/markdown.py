"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is aligned left and whose others are aligned right."""
    ruler = [":--", *["--:"] * (len(headings) - 1)]
    table = [[heading.replace("-\n", "-").replace("\n", " ") for heading in headings], ruler, *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in table)
