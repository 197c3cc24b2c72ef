"""What every architecture asks of its numbers, told in the same words."""

from __future__ import annotations

from dp_core.errors import UserError, nearest


def require_whole(architecture: str, **numbers: object) -> None:
    """Refuse every hyperparameter of `numbers` that is not a whole number of at least 1.

    Raises:
        UserError: names the architecture, the hyperparameter and its value.
    """
    for key, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise UserError(f"{architecture} needs a whole {key} of at least 1, not {number!r}.")


def require_known(architecture: str, key: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a `value` of the hyperparameter `key` that is none of `known`.

    Raises:
        UserError: names the architecture, the hyperparameter, its value and the nearest right spelling.
    """
    if value not in known:
        raise UserError(
            f"{architecture} has no {key} '{value}'.{nearest(str(value), known)} Known: {', '.join(known)}."
        )
