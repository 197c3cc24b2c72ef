"""How values and times are shown in the sentences a user reads."""

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


def about(least: float, most: float | None = None) -> str:
    """Return a time in seconds, or a range, in the unit of its end: `about 90 s`, `about 2 to 4 minutes`."""
    end = least if most is None else most
    factor, unit = (1, "s") if end < 100 else (60, "minutes") if end < 5400 else (3600, "hours")
    low, high = (_figures(seconds / factor) for seconds in (least, end))
    return f"about {low} to {high} {unit}" if low != high else f"about {high} {unit}"


def _figures(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"
