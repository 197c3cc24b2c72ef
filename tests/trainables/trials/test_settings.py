from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from dp_core.errors import UserError
from trainables.trials.settings import parse_settings


@dataclass(frozen=True)
class Oven:
    degrees: float = 180.0
    minutes: int = 20
    fan: bool = False
    dish: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.degrees > 300:
            raise UserError(f"An oven gets as hot as 300 degrees, not {self.degrees}.")


def test_fields_that_are_not_given_keep_their_defaults() -> None:
    assert parse_settings(Oven, {"minutes": 35}, "oven") == Oven(minutes=35)
    assert parse_settings(Oven, {"degrees": 200, "dish": {"name": "pie"}}, "oven") == Oven(200.0, dish={"name": "pie"})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"minuts": 3}, "There is no key 'oven.minuts'. Did you mean 'minutes'? Known: degrees, minutes, fan, dish."),
        ({"minutes": "3"}, "'oven.minutes' is not valid: Input should be a valid integer, not '3'."),
        ({"minutes": 2.5}, "'oven.minutes' is not valid: "),
        ({"minutes": True}, "'oven.minutes' is not valid: "),
        ({"fan": 1}, "'oven.fan' is not valid: "),
        ({"degrees": 400}, "'oven': An oven gets as hot as 300 degrees, not 400.0."),
    ],
)
def test_mistakes_name_the_key_under_its_prefix(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_settings(Oven, settings, "oven")
    assert sentence in str(caught.value)
