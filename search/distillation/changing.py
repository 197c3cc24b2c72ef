"""Step sizes that are changed before a distillation is resumed."""

from __future__ import annotations

from collections.abc import Sequence

from dp_core.errors import UserError
from search.config.loader import override_config
from search.config.overrides import Override
from search.distillation.config import DistillConfig
from search.distillation.preparation import DistillPreparation, prepare_distillation
from search.output.wording import show
from search.runs.directory import RunDirectory
from search.runs.record import dumped

_SETTINGS = "distill.settings"


def changed(
    run: RunDirectory, prepared: DistillPreparation, overrides: Sequence[str], accepted: bool
) -> DistillPreparation:
    """Return a run as it goes on with `overrides`, `dotted.key=value`.

    The sizes of the steps may be changed at any time: what was done before is kept, and the card says so. Before there
    is a checkpoint or a set, all settings of the distiller may.

    Args:
        run: a distillation.
        prepared: the run as it is.
        overrides: keys to change.
        accepted: whether the changes are meant.

    Raises:
        UserError: a key that may not be changed, or changes that were not accepted.
    """
    allowed = sorted(f"{_SETTINGS}.{name}" for name in prepared.step_sizes)
    for override in (Override.parse(text) for text in overrides):
        key = ".".join(override.path)
        if key not in allowed and (prepared.begun or not key.startswith(f"{_SETTINGS}.")):
            known = f"change {', '.join(allowed)}" if allowed else "take no other settings"
            raise UserError(
                f"'{key}' cannot be changed in a distillation on its way; it can {known}. Start another run."
            )
    config = override_config(DistillConfig, dumped(prepared.config), run.config, overrides)
    found = prepare_distillation(config, run.path, str(run.config))
    before, after = prepared.distiller.settings(), found.distiller.settings()
    changes = [
        f"{_SETTINGS}.{name}: {show(before[name])} → {show(value)}"
        for name, value in after.items()
        if value != before[name]
    ]
    if changes and not accepted:
        raise UserError(
            f"The config of the run {run.path} has changed: {'; '.join(changes)}. "
            "Resume it with --accept-changes to go on with this."
        )
    return found
