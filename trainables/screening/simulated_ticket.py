"""The ticket that simulated trials end with: a real one, but tiny and the same for all."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dp_core.models import ModelSpec, build
from dp_core.pruning import Mask, Ticket

_SPEC = ModelSpec("convnet", {"depth": 1, "width": 1, "norm": "none", "activation": "relu", "pooling": "average"})


def simulated_ticket(input_shape: tuple[int, int, int] = (3, 8, 8), classes: int = 10) -> dict[str, bytes]:
    """Return the files of a ticket by name: a network of one channel whose mask keeps every weight."""
    model = build(_SPEC, input_shape, classes, seed=0)
    ticket = Ticket(
        spec=_SPEC,
        input_shape=input_shape,
        classes=classes,
        weights=model.state_dict(),
        mask=Mask.ones(model),
        history=[],
        provenance={"simulated": True},
    )
    with tempfile.TemporaryDirectory() as folder:
        ticket.write_into(Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
