from __future__ import annotations

import io

import pytest
from rich.console import Console

from search.output.sheet import Sheet

SHEET = Sheet(
    ["Method", "Image-\ngradients", "Barrier\n%", "Recipe"],
    [["[bold]a|b[/bold]", "6 k", "2.5 ± 0.1", "a long recipe of many words"], ["imp", "500", "-", "short"]],
    "All of them",
    "A note, which is longer than the table and so is wrapped below it where there is no room.",
    names=(0, 3),
)


def printed(sheet: Sheet, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(sheet)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_markdown() -> None:
    assert SHEET.markdown().splitlines() == [
        "**All of them**",
        "",
        "| Method | Image-gradients | Barrier % | Recipe |",
        "| :-- | --: | --: | :-- |",
        "| [bold]a\\|b[/bold] | 6 k | 2.5 ± 0.1 | a long recipe of many words |",
        "| imp | 500 | - | short |",
        "",
        SHEET.note,
    ]
    assert Sheet(["a", "b"], []).markdown() == "| a | b |\n| :-- | --: |\n"


@pytest.mark.parametrize("width", [45, 60, 100])
def test_figures_are_never_cut_and_names_are_folded(width: int) -> None:
    lines = printed(SHEET, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for figure in ("6 k", "2.5 ± 0.1", "500", "gradients", "Barrier"):
        assert figure in text
    assert ("a long recipe of many words" in text) is (width == 100)


def test_a_name_is_no_markup_and_title_and_note_are_there() -> None:
    lines = printed(SHEET, 120)
    assert [line.strip() for line in lines[:2]] == ["", "All of them"]
    assert any("[bold]a|b[/bold]" in line for line in lines)
    assert lines[-1].strip().endswith("no room.")
