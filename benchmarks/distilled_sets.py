"""What are the shipped distilled sets worth?

    python -m benchmarks.distilled_sets

Writes what `winnow distill evaluate` left in the cards of assets/distilled as tables.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.measuring import RESULTS, as_a_program
from dp_core.distillation import DistilledSet
from dp_core.files import write_text
from search.distillation.evaluation_sheets import evaluation_markdown

SETS = Path("assets/distilled")


def page(folder: Path) -> str:
    """Return a section for each set in `folder`."""
    parts = ["# The shipped distilled sets\n"]
    for path in sorted(folder.glob("*.safetensors")):
        found = DistilledSet.load(path)
        cost = found.provenance["cost"]
        rows = [{"measure": name, **row} for name, kept in found.quality.items() for row in kept["rows"]]
        parts.append(
            f"## {path.stem}\n\n`{found.provenance['command']}`, {cost['seconds'] / 60:.0f} minutes and "
            f"{cost['image_gradients']:,} image-gradients; {path.stat().st_size:,} bytes.\n\n"
            f"{evaluation_markdown(rows)}"
        )
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    write_text(RESULTS / "distilled_sets.md", page(SETS))
    print(RESULTS / "distilled_sets.md")


if __name__ == "__main__":
    as_a_program(main)
