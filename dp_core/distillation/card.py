"""The card of a distilled set: where it is, and reading it without the set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dp_core.cards import read_card
from dp_core.errors import UserError

FORMAT = 2
# Format 1 had a card without encoding, digest and quality, and all tensors in full.
_READABLE = (1, FORMAT)


def card_path(path: Path) -> Path:
    """Return where the card of the set at `path` is: `<name>.card.json` beside it."""
    return path.with_name(path.name.removesuffix(".safetensors") + ".card.json")


def read_set_card(path: Path) -> dict[str, Any]:
    """Return the card of the set at `path`, having seen that both are what was saved.

    Raises:
        UserError: the set or its card is missing, damaged, or was edited since.
    """
    if not path.is_file():
        raise UserError(f"There is no distilled set {path}: name its .safetensors file.")
    card = read_card(card_path(path), "distilled set", {"tensors": path})
    if card.get("format") not in _READABLE:
        raise UserError(f"{card_path(path)} is not the card of a distilled set in format 1 or {FORMAT}.")
    return card
