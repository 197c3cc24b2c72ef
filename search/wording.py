"""How values are shown in the sentences a user reads."""

from __future__ import annotations

import json

LONGEST = 60
"""Characters of a value that a sentence shows before it is cut short."""


def show(value: object) -> str:
    """Return `value` as a user would write it in YAML (`'text'`, `true`, `null`, `[1, 2]`), cut to `LONGEST`."""
    quoted = isinstance(value, str)
    text = str(value) if quoted or isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return f"'{text}'" if quoted else text
