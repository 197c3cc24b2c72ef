"""What tables call the scores."""

from __future__ import annotations


def reading_name(proxy: str, key: str) -> str:
    """Return the name of one of a proxy's readings, such as `nwot`, `distilled@30` or `distilled speed@30`.

    Accuracy is what goes without saying.
    """
    if not key:
        return proxy
    measure, at, rest = key.partition("@")
    return f"{proxy}@{rest}" if at and measure == "accuracy" else f"{proxy} {key}"
