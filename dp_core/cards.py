"""Cards: what an artefact is, as JSON beside its tensors, sealed by a digest of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp_core.errors import UserError
from dp_core.files import digest_of_file, digest_of_json, write_json

_SEAL = "card_sha256"


def write_card(path: Path, card: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Write `card` to `path` with the digest of each file of the artefact and one of the card itself.

    Args:
        path: of the card.
        card: plain values; the keys `sha256` and `card_sha256` are added.
        files: the artefact's files by name, already written.
    """
    content = {**card, "sha256": {name: digest_of_file(file) for name, file in files.items()}}
    write_json(path, {**content, _SEAL: digest_of_json(content)})


def read_card(path: Path, what: str, files: Mapping[str, Path]) -> dict[str, Any]:
    """Read a card and check it and its files.

    Args:
        path: of the card.
        what: the kind of artefact, for the error.
        files: the artefact's files by the names that `write_card` was given.

    Raises:
        UserError: the card or a file is missing, damaged, or was edited since it was written.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not the readable card of a {what}: {error}.") from error
    if not isinstance(card, dict) or _SEAL not in card:
        raise UserError(f"{path} is not the card of a {what}.")
    seal = card.pop(_SEAL)
    if digest_of_json(card) != seal:
        raise UserError(f"{path} does not match its own digest: it is damaged or was edited.")
    if card["sha256"].keys() != files.keys():
        raise UserError(f"{path} is not the card of a {what}.")
    for name, file in files.items():
        try:
            found = digest_of_file(file)
        except OSError as error:
            raise UserError(f"{file} of the {what} cannot be read: {error.strerror or error}.") from error
        if found != card["sha256"][name]:
            raise UserError(f"{file} does not match the digest in its card: it is damaged or was edited.")
    return card
