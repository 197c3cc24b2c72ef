"""A table of text that people read, in the terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Sheet:
    """Lines of cells under headings; `console.print` draws it, `markdown` writes it.

    Args:
        headings: may have several lines.
        lines: a cell for each heading.
        title: above the table.
        note: below it.
        names: numbers of the columns that hold names: on the left and folded where there is no room, while figures are
            on the right and never cut.
    """

    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    names: Collection[int] = (0,)

    def markdown(self) -> str:
        """Return the table as Markdown, with title and note if it has them."""
        headings = [heading.replace("-\n", "-").replace("\n", " ") for heading in self.headings]
        ruler = [":--" if number in self.names else "--:" for number in range(len(headings))]
        cells = [headings, ruler, *self.lines]
        table = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in cells)
        title = f"**{self.title}**\n\n" if self.title else ""
        return f"{title}{table}" + (f"\n{self.note}\n" if self.note else "")

    def __rich__(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title_justify="left", caption_justify="left")
        # Text everywhere, not str: a name holding "[…]" is not markup. A blank line sets off what is above.
        table.title, table.caption = Text(f"\n{self.title}") if self.title else None, Text(self.note) or None
        for number, heading in enumerate(self.headings):
            if number in self.names:
                table.add_column(Text(heading), overflow="fold", min_width=3)
                continue
            width = max(len(text) for text in [*heading.split("\n"), *(line[number] for line in self.lines)])
            table.add_column(Text(heading), justify="right", no_wrap=True, min_width=width)
        for line in self.lines:
            table.add_row(*map(Text, line))
        return table
